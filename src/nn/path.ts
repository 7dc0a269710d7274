/** @file Paths of modules and parameters: "transformer.h.0.attn". The empty path is the model itself. */

/** The path of a part. */
export function joinPath(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

/** The path of what a part belongs to; of a parameter, its module. */
export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf(".")));
}

/** The last part of a path. */
export function lastPart(path: string): string {
  return path.slice(path.lastIndexOf(".") + 1);
}

/** A path with "*" for the numbers of layers: "transformer.h.*.attn". */
export function withoutNumbers(path: string): string {
  return path.replaceAll(/\.\d+(?=\.|$)/g, ".*");
}

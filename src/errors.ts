/**
 * @file The one error class that bad input produces. Every message reads
 * `where: rule, expected X, got Y. Remedy.` and is meant to be shown to the user as it is.
 */

/** What kind of thing was wrong; callers branch on this, never on message text. */
export type ErrorCode =
  | "usage" // a flag, option or argument (exit code 2 on the command line)
  | "config" // a model's or adapter's configuration
  | "checkpoint" // weights: safetensors files, tensor names and shapes
  | "data" // a data file, a column, a label
  | "tokenizer"
  | "graph" // shapes or dtypes do not fit while a graph is built
  | "runtime" // ONNX Runtime, a device, memory
  | "training" // divergence, nothing to train
  | "io"; // the file system

/** An error that explains itself: shown without a stack trace by the command line. */
export class LowrankError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "LowrankError";
    this.code = code;
  }
}

/**
 * Options that come from JavaScript may be no object, or have names that there are not, which would do nothing.
 * Throws LowrankError("usage"); for such names it lists those that there are.
 * @param known the names of all options; default: names are checked elsewhere
 */
export function requireOptions<O extends object>(
  what: string,
  options: O,
  known?: Readonly<Record<keyof O, true>>,
): void {
  if (typeof options !== "object" || options === null) {
    throw new LowrankError(
      "usage",
      `${what}: expected an object with options, got ${String(options)}.`,
    );
  }
  if (!known) return;
  const unknown = Object.keys(options).filter((name) => !Object.hasOwn(known, name));
  if (unknown.length === 0) return;
  throw new LowrankError(
    "usage",
    `${what}: there is no option ${unknown.join(", ")}. Options: ${Object.keys(known).join(", ")}.`,
  );
}

/** A path that comes from JavaScript may be missing, as an environment variable that is not set. Throws LowrankError("usage"). */
export function requirePath(what: string, path: string): void {
  if (typeof path === "string" && path !== "") return;
  const given = path === "" ? "an empty text" : String(path);
  throw new LowrankError("usage", `${what}: expected a path, got ${given}.`);
}

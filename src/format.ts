/** @file Numbers and names as people read them. */

/** E.g. "22,713,216". */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString("en-US");
}

/** E.g. "1.3 MB". */
export function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** E.g. "1.4 %". */
export function formatShare(share: number): string {
  return `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;
}

/** The first entries of a list, and how many there are besides: "a, b and 3 more". */
export function listFirst(entries: readonly string[], most: number, separator = ", "): string {
  const more = entries.length > most ? ` and ${entries.length - most} more` : "";
  return `${entries.slice(0, most).join(separator)}${more}`;
}

/** "3 seeds", "1 seed", "36 matrices". */
export function plural(count: number, noun: string): string {
  const plurals = noun === "matrix" ? "matrices" : `${noun}s`;
  return `${count.toLocaleString("en-US")} ${count === 1 ? noun : plurals}`;
}

/** learningRate → learning-rate */
export function kebabCase(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** What a schema finds wrong, in one line: "r: Too small: …; foo: …". */
export function listIssues({
  issues,
}: {
  readonly issues: readonly { readonly path: readonly PropertyKey[]; readonly message: string }[];
}): string {
  return issues
    .map(({ path, message }) => [...(path.length > 0 ? [path.join(".")] : []), message].join(": "))
    .join("; ");
}

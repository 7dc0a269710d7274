/**
 * @file Splits a text file into lines while it is still bytes, so that a file may be larger than the longest string.
 */

/** A line without its line end. */
export interface Line {
  /** 1-based. */
  line: number;
  text: string;
}

/**
 * The lines of a UTF-8 file, ended by LF or CRLF; a last empty one is left out. Only these end a line: a text may contain
 * U+2028 or a lone CR.
 */
export function* linesOf(bytes: Buffer): Generator<Line> {
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const newline = bytes.indexOf(0x0a, start);
    let end = newline === -1 ? bytes.length : newline;
    const next = end + 1;
    if (end > start && bytes[end - 1] === 0x0d) end--;
    yield { line, text: bytes.toString("utf8", start, end) };
    start = next;
  }
}

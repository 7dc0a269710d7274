/**
 * @file JSON with what `JSON.parse` does not tell: the line and column of a syntax error, and keys that occur twice in one
 * object. Used for configuration files, checkpoint indexes and safetensors headers. Grammar: https://www.rfc-editor.org/rfc/rfc8259
 */
import { z } from "zod";

/** A syntax error in a JSON text. `line` and `column` count from 1; `found` is the offending text or "end of text". */
export interface JsonProblem {
  readonly line: number;
  readonly column: number;
  readonly found: string;
}

/** A number as JSON has it, which writes null for what is infinite or none. */
export const storedNumber = z
  .number()
  .nullable()
  .transform((value) => value ?? NaN);

/** The value of a JSON text, or where its syntax is broken. Never throws. */
export type JsonResult = { readonly value: unknown } | { readonly problem: JsonProblem };

/** Parses a JSON text: the same values as `JSON.parse`, with the place of the first error instead of an exception. */
export function parseJson(text: string): JsonResult {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return { problem: problemAt(text, scan(text).errorOffset ?? text.length) };
  }
}

/** The first key that occurs twice in one object of a *valid* JSON text, or undefined. `JSON.parse` keeps the last. */
export function findDuplicateKey(text: string): string | undefined {
  return scan(text).duplicateKey;
}

function problemAt(text: string, offset: number): JsonProblem {
  const before = text.slice(0, offset);
  const line = before.split("\n").length;
  const column = offset - before.lastIndexOf("\n");
  const rest = text.slice(offset, offset + 20).split("\n")[0] ?? "";
  const found = offset >= text.length ? "end of text" : JSON.stringify(rest);
  return { line, column, found };
}

const TOKEN =
  // eslint-disable-next-line no-control-regex -- JSON strings must not contain raw control characters
  /[ \t\n\r]*(?:([[\]{},:])|("(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")|(-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null))/y;
const BLANK = /[ \t\n\r]*/y;

interface Scan {
  errorOffset?: number;
  duplicateKey?: string;
}

/** Walks the tokens with an explicit stack, so that no nesting depth overflows the call stack. */
function scan(text: string): Scan {
  const result: Scan = {};
  const stack: (Set<string> | null)[] = []; // keys of each open object, null for an array
  let expected: "value" | "value or ]" | "key" | "key or }" | "colon" | "comma" | "end" = "value";
  let offset = 0;
  for (;;) {
    BLANK.lastIndex = offset;
    BLANK.exec(text);
    const start = BLANK.lastIndex;
    if (start === text.length) {
      if (expected !== "end") result.errorOffset = start;
      return result;
    }
    TOKEN.lastIndex = offset;
    const match = TOKEN.exec(text);
    const [, punctuation, string, literal] = match ?? [];
    const top = stack.at(-1);
    if (expected === "key" || expected === "key or }") {
      if (string !== undefined && top) {
        const key = JSON.parse(string) as string;
        if (top.has(key)) result.duplicateKey ??= key;
        top.add(key);
        expected = "colon";
      } else if (punctuation === "}" && expected === "key or }") {
        stack.pop();
        expected = stack.length > 0 ? "comma" : "end";
      } else return { ...result, errorOffset: start };
    } else if (expected === "colon" && punctuation === ":") {
      expected = "value";
    } else if (expected === "comma" && punctuation === ",") {
      expected = top ? "key" : "value";
    } else if (
      (expected === "comma" && punctuation === (top ? "}" : "]")) ||
      (expected === "value or ]" && punctuation === "]")
    ) {
      stack.pop();
      expected = stack.length > 0 ? "comma" : "end";
    } else if (expected === "value" || expected === "value or ]") {
      if (punctuation === "{" || punctuation === "[") {
        stack.push(punctuation === "{" ? new Set() : null);
        expected = punctuation === "{" ? "key or }" : "value or ]";
      } else if (string !== undefined || literal !== undefined) {
        expected = stack.length > 0 ? "comma" : "end";
      } else return { ...result, errorOffset: start };
    } else return { ...result, errorOffset: start };
    offset = TOKEN.lastIndex;
  }
}

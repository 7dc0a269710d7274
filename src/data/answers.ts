/**
 * @file Answers to questions about a text, as data files write them, and their places in that text. Files count characters
 * as Python does, in code points; places here are JavaScript's, in UTF-16 units, so that `context.slice(start, end)` is
 * the answer.
 */

import { isObject, show } from "./table.ts";

/** An answer as a file has it. */
export interface Answer {
  readonly text: string;
  /** Its first character in the context, as the file counts. */
  readonly start?: number;
}

/** A stretch of a text, end exclusive, in UTF-16 units. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Where an answer is, and whether it is there only; or why it is nowhere. */
export type Place =
  | { readonly span: Span; readonly isUnique: boolean }
  | { readonly problem: "is not in the context" | "is not at its place in the context" };

/**
 * The answers in a cell; none for a question without one. Known forms: a text; `{text, answer_start}`, both single or
 * both lists (as in the data sets of the hub); a list of texts or of such objects (as in SQuAD). `start` is understood
 * for `answer_start`. No answer: null, an empty text, an empty list.
 *
 * @param starts the places in a cell of their own, for texts that come without
 * @returns a message when the cell has another form
 */
export function answersOf(cell: unknown, starts?: unknown): Answer[] | string {
  const answers: Answer[] = [];
  for (const { text, start } of pairs(cell, starts)) {
    if (text === null || text === undefined) continue;
    if (typeof text !== "string" && typeof text !== "number") {
      return `expected a text or {text, answer_start}, got ${show(text)}`;
    }
    const place = placeNumber(start);
    if (typeof place === "string") return place;
    if (String(text).trim() === "") continue;
    answers.push(
      place === undefined ? { text: String(text) } : { text: String(text), start: place },
    );
  }
  return answers;
}

/** The texts of a cell, each with what is given as its place. */
function pairs(cell: unknown, starts: unknown): { text: unknown; start: unknown }[] {
  if (Array.isArray(cell)) {
    return cell.flatMap((item: unknown, index) =>
      isObject(item)
        ? pairs(item["text"], item["answer_start"] ?? item["start"])
        : [{ text: item, start: Array.isArray(starts) ? (starts as unknown[])[index] : starts }],
    );
  }
  // An object without a text stays as it is, for the message.
  if (isObject(cell) && "text" in cell) {
    return pairs(cell["text"], cell["answer_start"] ?? cell["start"] ?? starts);
  }
  return [{ text: cell, start: Array.isArray(starts) ? (starts as unknown[])[0] : starts }];
}

/** A place as a number, undefined where there is none, or what is wrong with it. CSV has digits. */
function placeNumber(value: unknown): number | undefined | string {
  if (value === undefined || value === null || value === "") return undefined;
  const number = typeof value === "string" ? Number(value) : value;
  if (typeof number === "number" && Number.isInteger(number)) return number;
  return `expected a whole number as answer_start, got ${show(value)}`;
}

const SURROGATE = /[\uD800-\uDFFF]/;

/**
 * Where an answer is in its context, white space around it left out.
 *
 * A given start counts code points; where the answer is not found there, UTF-16 units, as JavaScript writes them. Without
 * a start it is the first occurrence.
 */
export function placeAnswer(context: string, { text, start }: Answer): Place {
  if (start === undefined) {
    const first = context.indexOf(text);
    if (first === -1) return { problem: "is not in the context" };
    return { span: trimmed(text, first), isUnique: !context.includes(text, first + 1) };
  }
  const starts = SURROGATE.test(context) ? [codePointOffset(context, start), start] : [start];
  const found = starts.find((place) => place >= 0 && context.startsWith(text, place));
  if (found !== undefined) return { span: trimmed(text, found), isUnique: true };
  const problem = context.includes(text)
    ? "is not at its place in the context"
    : "is not in the context";
  return { problem };
}

function trimmed(text: string, at: number): Span {
  const start = at + text.length - text.trimStart().length;
  return { start, end: start + text.trim().length };
}

/** UTF-16 units before the code point of that number; -1 beyond the end. */
function codePointOffset(text: string, codePoints: number): number {
  let offset = 0;
  for (let left = codePoints; left > 0; left--) {
    if (offset >= text.length) return -1;
    offset += text.codePointAt(offset)! > 0xffff ? 2 : 1;
  }
  return offset;
}

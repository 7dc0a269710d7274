/**
 * @file JSON (a list of objects, `{"data": [...]}`, an object of equally long lists, or SQuAD's form) and JSON lines.
 */

import { constants } from "node:buffer";
import { LowrankError } from "../errors.ts";
import { linesOf } from "./lines.ts";
import { readSquad, squadArticles } from "./squad.ts";
import { isObject, show, type JsonObject, type Row, type Table } from "./table.ts";

/** Columns in the order in which the rows first have them. */
function columnsOf(rows: readonly Row[]): string[] {
  const columns = new Set<string>();
  for (const { values } of rows) for (const name in values) columns.add(name);
  return [...columns];
}

/**
 * Parses a JSON document; Row.line counts rows.
 *
 * @param bytes UTF-8 without a byte order mark
 * @throws LowrankError "data" for invalid JSON and for any other shape
 */
export function readJson(file: string, bytes: Buffer): Table {
  if (bytes.length > constants.MAX_STRING_LENGTH) {
    throw new LowrankError(
      "data",
      `${file}: JSON of ${bytes.length} bytes is too large to parse at once. Convert it to JSON lines (.jsonl).`,
    );
  }
  const text = bytes.toString("utf8");
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    const reason = (error as Error).message;
    const position = /position (\d+)/.exec(reason)?.[1];
    const line = position === undefined ? "" : ` line ${lineAt(text, Number(position))}:`;
    throw new LowrankError("data", `${file}:${line} invalid JSON: ${reason}.`, { cause: error });
  }
  const articles = squadArticles(document);
  if (articles) return readSquad(file, articles);
  if (isObject(document) && Array.isArray(document["data"])) document = document["data"];
  const objects = isObject(document) ? transposed(file, document) : document;
  if (!Array.isArray(objects)) {
    throw new LowrankError(
      "data",
      `${file}: expected a list of objects, {"data": [...]}, or an object of lists, got ${show(document)}.`,
    );
  }
  const rows = objects.map((values: unknown, index): Row => {
    if (isObject(values)) return { line: index + 1, values };
    throw new LowrankError(
      "data",
      `${file}: row ${index + 1}: expected an object, got ${show(values)}.`,
    );
  });
  return { file, columns: columnsOf(rows), rows, unit: "row" };
}

function lineAt(text: string, position: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < position; at = text.indexOf("\n", at + 1)) {
    line++;
  }
  return line;
}

/** `{text: ["a", "b"], label: [0, 1]}` as `[{text: "a", label: 0}, {text: "b", label: 1}]`. */
function transposed(file: string, document: JsonObject): JsonObject[] {
  const columns = Object.entries(document);
  const lists = columns.map(([name, list]) => {
    if (Array.isArray(list)) return list as unknown[];
    throw new LowrankError(
      "data",
      `${file}: expected a list of objects, {"data": [...]}, or an object of lists, ` +
        `got an object whose ${show(name)} is ${show(list)}.`,
    );
  });
  const length = lists[0]?.length ?? 0;
  for (const [index, list] of lists.entries()) {
    if (list.length !== length) {
      throw new LowrankError(
        "data",
        `${file}: the lists must be equally long, got ${length} in ${show(columns[0]?.[0])} ` +
          `and ${list.length} in ${show(columns[index]?.[0])}.`,
      );
    }
  }
  return Array.from({ length }, (_, row) =>
    Object.fromEntries(columns.map(([name], index) => [name, lists[index]?.[row]])),
  );
}

/**
 * Parses JSON lines: one object a line, empty lines skipped. Row.line counts lines.
 *
 * @param bytes UTF-8 without a byte order mark
 * @throws LowrankError "data" naming the first line that is not a JSON object
 */
export function readJsonLines(file: string, bytes: Buffer): Table {
  const rows: Row[] = [];
  for (const { line, text } of linesOf(bytes)) {
    if (text.trim() === "") continue;
    let values: unknown;
    try {
      values = JSON.parse(text);
    } catch (error) {
      throw new LowrankError(
        "data",
        `${file}: line ${line}: invalid JSON: ${(error as Error).message}. Write one JSON object on each line.`,
        { cause: error },
      );
    }
    if (!isObject(values)) {
      throw new LowrankError(
        "data",
        `${file}: line ${line}: expected a JSON object, got ${show(values)}. Write one JSON object on each line.`,
      );
    }
    rows.push({ line, values });
  }
  return { file, columns: columnsOf(rows), rows, unit: "line" };
}

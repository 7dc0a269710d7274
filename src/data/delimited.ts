/**
 * @file CSV (RFC 4180, by csv-parse; also with the semicolons of many countries' spreadsheets) and TSV (no quoting: a tab
 * always separates, a quote is a character), with or without a line of column names.
 *
 * With header "auto" the first line names the columns unless it looks like data, i.e. it has none of the usual names of
 * columns (columns.ts) and one of its cells is empty, a number, longer than 64 characters, twice in the line, or occurs
 * again further down in its own column (as the label "ham" does). Without names, two columns of which one holds few
 * distinct short values are called label and text; any others column1, column2, ….
 */

import { CsvError, parse } from "csv-parse/sync";
import { LowrankError } from "../errors.ts";
import { COLUMN_ROLES } from "./columns.ts";
import { linesOf } from "./lines.ts";
import type { HeaderOption, Row, Table } from "./table.ts";

/** Cells of a line, and the line on which they start. */
interface Fields {
  line: number;
  cells: string[];
}

/** A cell longer than this is a text, not a name or a label. */
const LONGEST_NAME = 64;

const OTHER_NAMES = ["id", "idx", "index", "split", "source", "date", "answer", "output", "name"];
const USUAL_NAMES = new Set([
  ...Object.values(COLUMN_ROLES).flatMap(({ names }): readonly string[] => names),
  ...OTHER_NAMES,
]);

/**
 * Parses CSV or TSV. Empty lines are skipped.
 *
 * @param bytes UTF-8 without a byte order mark
 * @throws LowrankError "data": broken quoting, rows of another width than the first
 */
export function readDelimited(
  file: string,
  bytes: Buffer,
  quoted: boolean,
  header: HeaderOption,
): Table {
  const records = withoutEmpty(quoted ? splitCsv(file, bytes) : splitTsv(bytes));
  const [first, ...rest] = records;
  if (first === undefined) {
    throw new LowrankError("data", `${file}: the file has only empty lines. Add examples.`);
  }
  requireSameWidth(file, records, first.cells.length);

  const named = header === "auto" ? isHeader(first.cells, rest) : header;
  const body = named ? rest : records;
  const columns = named
    ? first.cells.map((name, index) => (name === "" ? `column${index + 1}` : name))
    : inferNames(body);
  const rows = body.map(({ line, cells }): Row => {
    const values: Record<string, unknown> = {};
    for (let i = 0; i < columns.length; i++) values[columns[i] as string] = cells[i];
    return { line, values };
  });
  return { file, columns, rows, unit: "line" };
}

const withoutEmpty = (records: readonly Fields[]): Fields[] =>
  records.filter(({ cells }) => cells.length > 1 || cells[0] !== "");

function splitTsv(bytes: Buffer): Fields[] {
  const records: Fields[] = [];
  for (const { line, text } of linesOf(bytes)) records.push({ line, cells: text.split("\t") });
  return records;
}

/** Semicolons separate where the first line has no comma, and all lines then have equally many fields. */
function splitCsv(file: string, bytes: Buffer): Fields[] {
  const end = bytes.findIndex((byte) => byte === 0x0a || byte === 0x0d);
  const firstLine = bytes.toString("utf8", 0, end === -1 ? bytes.length : end);
  if (firstLine.includes(";") && !firstLine.includes(",")) {
    const records = parseCsv(file, bytes, ";");
    const [first, ...rest] = withoutEmpty(records);
    if (rest.every(({ cells }) => cells.length === first!.cells.length)) return records;
  }
  return parseCsv(file, bytes, ",");
}

/** csv-parse's records with the line each starts on (its own count takes CRLF inside quotes for two lines). */
function parseCsv(file: string, bytes: Buffer, delimiter: "," | ";"): Fields[] {
  const lineEnds = bytes.includes(0x0a) ? ["\r\n", "\n"] : ["\r"];
  const options = { delimiter, relax_column_count: true, record_delimiter: lineEnds };
  let records: string[][];
  try {
    records = parse(bytes, options);
  } catch (error) {
    // A quote inside an unquoted field (5" pipe) is against RFC 4180, but everyone reads it as a character.
    if (!(error instanceof CsvError) || error.code !== "INVALID_OPENING_QUOTE") {
      throw quoteError(file, bytes, error);
    }
    try {
      records = parse(bytes, { ...options, relax_quotes: true });
    } catch (second) {
      throw quoteError(file, bytes, second);
    }
  }
  let line = 1;
  return records.map((cells) => {
    const start = line;
    line++;
    for (const cell of cells) {
      for (let at = cell.indexOf("\n"); at !== -1; at = cell.indexOf("\n", at + 1)) line++;
    }
    return { line: start, cells };
  });
}

function quoteError(file: string, bytes: Buffer, error: unknown): unknown {
  if (!(error instanceof CsvError)) return error;
  // `bytes` is where the last complete field ended, so the field with the quote starts there.
  const before = Number((error as unknown as { bytes?: number }).bytes ?? 0);
  let line = 1;
  for (let at = bytes.indexOf(0x0a); at !== -1 && at < before; at = bytes.indexOf(0x0a, at + 1)) {
    line++;
  }
  const closed = error.code === "CSV_INVALID_CLOSING_QUOTE";
  const problem = closed ? "is followed by more text after its closing quote" : "is never closed";
  return new LowrankError(
    "data",
    `${file}: line ${line}: the quote that opens a field here ${problem}. ` +
      'Write a quote inside a quoted field twice (""), or end the field with a quote.',
    { cause: error },
  );
}

function requireSameWidth(file: string, records: readonly Fields[], width: number): void {
  const odd = records.filter(({ cells }) => cells.length !== width);
  const first = odd[0];
  if (first === undefined) return;
  const more = odd.length > 1 ? ` (${odd.length} such lines)` : "";
  throw new LowrankError(
    "data",
    `${file}: line ${first.line}: expected ${width} fields as on line ${records[0]?.line ?? 1}, ` +
      `got ${first.cells.length}${more}. Quote fields that contain the separator.`,
  );
}

function isHeader(cells: readonly string[], rest: readonly Fields[]): boolean {
  if (cells.some((cell) => USUAL_NAMES.has(cell.trim().toLowerCase()))) return true;
  return !cells.some(
    (cell, index) =>
      cell.trim() === "" ||
      Number.isFinite(Number(cell)) ||
      cell.length > LONGEST_NAME ||
      cells.indexOf(cell) !== index ||
      rest.some((row) => row.cells[index] === cell),
  );
}

/** `label` and `text` where the content tells which is which. */
function inferNames(rows: readonly Fields[]): string[] {
  const width = rows[0]?.cells.length ?? 0;
  const numbered = Array.from({ length: width }, (_, index) => `column${index + 1}`);
  if (width !== 2) return numbered;
  const distinct = [0, 1].map((index) => new Set(rows.map(({ cells }) => cells[index] ?? "")));
  const [left, right] = distinct as [Set<string>, Set<string>];
  const few = left.size < right.size ? left : right;
  const isLabel =
    left.size !== right.size &&
    few.size <= rows.length / 2 &&
    [...few].every((value) => value.trim() !== "" && value.length <= LONGEST_NAME);
  if (!isLabel) return numbered;
  return few === left ? ["label", "text"] : ["text", "label"];
}

/**
 * @file What every reader returns: named columns and rows that know where they came from. Labels and texts are taken
 * from it by columns.ts and labels.ts, which name the file and the place of whatever they refuse.
 */

/** A data file in memory. */
export interface Table {
  /** The path as the user gave it, for messages. */
  file: string;
  /** Column names, in the file's order. */
  columns: string[];
  rows: Row[];
  /** What Row.line counts: lines of a text file, or rows of JSON and Parquet, whose lines say nothing. */
  unit: "line" | "row";
  /** Whether the rows are the lines of one text, in their order. */
  isRunningText?: boolean;
}

/** Whether the first line of a CSV or TSV file names the columns. */
export type HeaderOption = "auto" | boolean;

/** One example as it stands in the file. */
export interface Row {
  /** 1-based: the line on which it starts, or its number (see Table.unit). */
  line: number;
  /** Values by column name; a JSON object that lacks a column has no such key. */
  values: Record<string, unknown>;
}

/** A column's values together with where each came from. */
export interface Column {
  file: string;
  name: string;
  unit: "line" | "row";
  values: unknown[];
  lines: number[];
}

/** The values of a column, for labelSet, encodeLabels and textValues. */
export function columnOf(table: Table, name: string): Column {
  return {
    file: table.file,
    name,
    unit: table.unit,
    values: table.rows.map((row) => row.values[name]),
    lines: table.rows.map((row) => row.line),
  };
}

/** `file: line 12`, as messages begin. */
export function placeOf(column: Column, index: number): string {
  return `${column.file}: ${column.unit} ${column.lines[index] ?? index + 1}`;
}

/** A value of JSON with keys: neither a list nor null. */
export type JsonObject = Readonly<Record<string, unknown>>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A value as a message shows it: quoted, and cut when long. */
export function show(value: unknown): string {
  const text = asText(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** Big integers and objects that hold themselves are no JSON. */
function asText(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

/** Problems that one message lists. */
const SHOWN_PROBLEMS = 5;

/** Joins what was found wrong: the first few one a line, and how many more there are. */
export function summarize(problems: readonly string[], remedy: string): string {
  const more =
    problems.length > SHOWN_PROBLEMS ? `\n(${problems.length - SHOWN_PROBLEMS} more)` : "";
  return `${problems.slice(0, SHOWN_PROBLEMS).join("\n")}${more}. ${remedy}.`;
}

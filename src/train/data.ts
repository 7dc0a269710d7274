/** @file The data of a run: tables from files or memory, and the part that is held out. */
import { resolve } from "node:path";
import { readTable } from "../data/readers.ts";
import { groupedSplit, lastPartSplit, stratifiedSplit, type Split } from "../data/split.ts";
import { show, type Table } from "../data/table.ts";
import { LowrankError } from "../errors.ts";
import type { TaskOptions } from "../tasks/options.ts";
import type { TaskKind } from "../tasks/task.ts";

/** Rows in memory in the place of a data file: plain objects, a column by its key. */
export type DataRows = readonly object[];
/** A data file's path, or rows. */
export type DataSource = string | DataRows;

/** How rows in memory are called in messages and model cards. */
const IN_MEMORY = "rows in memory";

/** What a source is called. */
export const sourceName = (source: DataSource): string =>
  typeof source === "string" ? source : IN_MEMORY;

/** Read a file, or wrap rows. Throws LowrankError("data"). */
export async function toTable(source: DataSource): Promise<Table> {
  if (typeof source === "string") return readTable(source);
  requireRows(source);
  const columns = [...new Set(source.flatMap((row) => Object.keys(row)))];
  if (source.length === 0) {
    throw new LowrankError("data", `${IN_MEMORY}: expected at least one row, got none.`);
  }
  const rows = source.map((values, index) => ({
    line: index + 1,
    values: values as Record<string, unknown>,
  }));
  return { file: IN_MEMORY, columns, rows, unit: "row" };
}

/** What comes from JavaScript may be anything. */
function requireRows(source: unknown): asserts source is DataRows {
  if (!Array.isArray(source)) {
    throw new LowrankError(
      "data",
      `data: expected a file's path or a list of rows, got ${show(source)}. Pass for example [{ text, label }, …].`,
    );
  }
  const odd = source.findIndex((row) => typeof row !== "object" || row === null);
  if (odd === -1) return;
  throw new LowrankError(
    "data",
    `${IN_MEMORY}: row ${odd + 1}: expected an object with a key for each column, got ${show(source[odd])}. ` +
      "Pass for example { text, label }.",
  );
}

export interface TrainingData {
  readonly train: Table;
  /** Absent where nothing could be or should be held out. */
  readonly validation?: Table;
  readonly warnings: readonly string[];
}

export interface TrainingDataOptions {
  readonly data: DataSource;
  readonly validationData?: DataSource | undefined;
  /** Share of `data` that is held out when there is no validation data. */
  readonly validationSplit: number;
  readonly seed: number;
}

/** Read the data of a run; without validation data a part is held out, classes in proportion. */
export async function trainingData(
  kind: TaskKind,
  options: TrainingDataOptions & TaskOptions,
): Promise<TrainingData> {
  const table = await toTable(options.data);
  if (options.validationData !== undefined) {
    const validation = await toTable(options.validationData);
    const warnings = sameData("validation", options.data, options.validationData);
    return { train: table, validation, warnings };
  }
  if (options.validationSplit === 0) return { train: table, warnings: [] };
  const { train, heldOut } = splitRows(kind, table, options);
  if (heldOut.length === 0) {
    const why = kind.groups ? "all belong together" : "each class has only one";
    const warning =
      `${table.file}: no example is held out, since ${why}. ` +
      "Nothing measures how good the adapter is.";
    return { train: table, warnings: [warning] };
  }
  return { train: rowsOf(table, train), validation: rowsOf(table, heldOut), warnings: [] };
}

/** A warning where a model would be measured on the file that it was trained on. */
export function sameData(what: string, training: DataSource, other: DataSource): string[] {
  if (typeof training !== "string" || typeof other !== "string") return [];
  if (resolve(training) !== resolve(other)) return [];
  return [
    `${other}: the ${what} data is the training data. What is measured on it says nothing about other data.`,
  ];
}

/** Held out are classes in proportion, whole groups, or the end of a running text. */
function splitRows(
  kind: TaskKind,
  table: Table,
  options: TrainingDataOptions & TaskOptions,
): Split {
  const { validationSplit, seed } = options;
  if (table.isRunningText) return lastPartSplit(table.rows.length, validationSplit);
  const groups = kind.groups?.(table, options);
  return groups
    ? groupedSplit(groups, validationSplit, seed)
    : stratifiedSplit(kind.strata(table, options), validationSplit, seed);
}

function rowsOf(table: Table, indices: readonly number[]): Table {
  return { ...table, rows: indices.map((index) => table.rows[index]!) };
}

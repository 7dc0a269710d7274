/**
 * @file Several labels for each row, as multi-label classification has them: a list, a text with a separator, or a
 * column for each label that holds 0 or 1. A row may have no label at all.
 */

import { LowrankError } from "../errors.ts";
import { distinctLabels, encodeLabels, labelTexts } from "./labels.ts";
import { placeOf, show, summarize, type Column } from "./table.ts";

/** What may stand between labels, the surest first: names of labels have commas more often than semicolons. */
const LABEL_SEPARATORS: readonly string[] = [";", "|", ","];

/** A text that looks like a list, e.g. in a cell of a CSV file. */
const isListText = (text: string): boolean => /^\s*\[.*\]\s*$/s.test(text);

/** Whether a column holds lists of labels. */
export function hasLists({ values }: Column): boolean {
  return values.some(
    (value) =>
      Array.isArray(value) || (typeof value === "string" && parsedList(value) !== undefined),
  );
}

/** The separator that occurs in a column's texts; undefined where none does. */
export function findSeparator({ values }: Column): string | undefined {
  return LABEL_SEPARATORS.find((separator) =>
    values.some(
      (value) => typeof value === "string" && !isListText(value) && value.includes(separator),
    ),
  );
}

/**
 * The labels of each row. A text holds the labels between separators, without the blanks around them; without a
 * separator it is one label, and an empty text is none.
 *
 * @throws LowrankError "data" naming the places where there is no list, or an entry that is no label
 */
export function labelLists(column: Column, separator?: string): string[][] {
  const problems: string[] = [];
  const lists = column.values.map((value, index): readonly unknown[] => {
    const list = listOf(value, separator);
    if (list) return list;
    problems.push(
      `${placeOf(column, index)}: column ${show(column.name)}: expected a list of labels, got ${show(value)}`,
    );
    return [];
  });
  if (problems.length > 0) {
    const remedy = 'Write ["a", "b"], or a;b, and nothing or [] for a row without labels';
    throw new LowrankError("data", summarize(problems, remedy));
  }
  return regroup(labelTexts(flatten(column, lists)), lists).map((list) =>
    Array.from(new Set(list)),
  );
}

function listOf(value: unknown, separator: string | undefined): readonly unknown[] | undefined {
  if (Array.isArray(value)) return value;
  if (typeof value === "number") return [value];
  if (typeof value !== "string") return undefined;
  if (isListText(value)) return parsedList(value);
  const parts = separator === undefined ? [value] : value.split(separator);
  return parts.map((part) => part.trim()).filter((part) => part !== "");
}

function parsedList(text: string): readonly unknown[] | undefined {
  if (!isListText(text)) return undefined;
  try {
    return JSON.parse(text) as unknown[];
  } catch {
    return undefined;
  }
}

/** All entries in one column, each with the line of its row. */
function flatten(column: Column, lists: readonly (readonly unknown[])[]): Column {
  const lines = lists.flatMap((list, row) => list.map(() => column.lines[row]!));
  return { ...column, values: lists.flat(), lines };
}

/** The entries of all lists, as lists of the same lengths. */
function regroup<T>(entries: readonly T[], lists: readonly (readonly unknown[])[]): T[][] {
  let at = 0;
  return lists.map(({ length }) => entries.slice(at, (at += length)));
}

/**
 * The labels of each row from one column for each label: 1 or true where the row has it, 0 or false where not.
 *
 * @throws LowrankError "data" naming the places with other values
 */
export function flaggedLabels(columns: readonly Column[]): string[][] {
  const problems: string[] = [];
  const lists: string[][] = (columns[0]?.values ?? []).map(() => []);
  for (const column of columns) {
    for (const [row, value] of column.values.entries()) {
      const flag = flagOf(value);
      if (flag) lists[row]!.push(column.name);
      if (flag !== undefined) continue;
      problems.push(
        `${placeOf(column, row)}: column ${show(column.name)}: expected 0 or 1, got ${show(value)}`,
      );
    }
  }
  if (problems.length === 0) return lists;
  throw new LowrankError("data", summarize(problems, "Write 1 for rows that have the label"));
}

const FLAGS: readonly (readonly [boolean, string])[] = [
  [true, "1"],
  [true, "1.0"],
  [true, "true"],
  [false, "0"],
  [false, "0.0"],
  [false, "false"],
];

function flagOf(value: unknown): boolean | undefined {
  const text = String(value).trim().toLowerCase();
  return FLAGS.find(([, spelling]) => spelling === text)?.[0];
}

/**
 * The different labels of all rows, in the order of their ids.
 *
 * @throws LowrankError "data" when no row has any
 */
export function labelsOf(lists: readonly (readonly string[])[], column: Column): string[] {
  const labels = distinctLabels(lists.flat());
  if (labels.length > 0) return labels;
  throw new LowrankError(
    "data",
    `${column.file}: column ${show(column.name)}: expected at least one label, but none of the ${lists.length} rows ` +
      "has any. Choose the label column with labelColumn.",
  );
}

/**
 * The ids of each row's labels.
 *
 * @throws LowrankError "data" for labels that training did not have: names each with its first line
 */
export function encodeLabelLists(
  lists: readonly (readonly string[])[],
  labels: readonly string[],
  column: Column,
): number[][] {
  return regroup(encodeLabels(flatten(column, lists), labels), lists);
}

/** @file Which problem a table of texts and labels is: what the user says, or what its labels look like. */
import { findColumn } from "../../data/columns.ts";
import { hasLists } from "../../data/label-lists.ts";
import { columnOf, type Column, type Table } from "../../data/table.ts";
import { numberOf } from "../../data/targets.ts";
import { LowrankError } from "../../errors.ts";
import type { TaskOptions } from "../options.ts";
import { multiLabel } from "./multi-label.ts";
import type { ProblemKind } from "./problem.ts";
import { regression } from "./regression.ts";
import { singleLabel } from "./single-label.ts";

/** Problems by the names that users give. */
export const PROBLEMS = { single: singleLabel, multi: multiLabel, regression } as const;
type ProblemName = keyof typeof PROBLEMS;

/** Whole numbers are taken for classes up to this many different ones, */
const FEW_CLASSES = 20;
/** and beyond it while there are so many rows for each. */
const ROWS_PER_CLASS = 5;

/** The column with the labels, or those of 0 and 1, one for each label, which the user names with commas. */
export function findLabelColumns(table: Table, asked: string | undefined): string[] {
  const names = asked?.split(",").map((name) => name.trim()) ?? [];
  if (asked === undefined || names.length === 1 || table.columns.includes(asked)) {
    return [findColumn(table, "label", asked)];
  }
  return names.map((name) => findColumn(table, "label", name));
}

/** The problem of training data. Throws LowrankError("usage") for settings that do not go with it. */
export function chooseProblem(
  table: Table,
  labelColumns: readonly string[],
  options: TaskOptions,
): ProblemKind {
  const { problemType = "auto" } = options;
  const name = problemType === "auto" ? problemOf(table, labelColumns, options) : problemType;
  checkSettings(name, labelColumns, options);
  return PROBLEMS[name];
}

function problemOf(
  table: Table,
  labelColumns: readonly string[],
  { labelSeparator }: TaskOptions,
): ProblemName {
  if (labelColumns.length > 1 || labelSeparator !== undefined) return "multi";
  const column = columnOf(table, labelColumns[0]!);
  if (hasLists(column)) return "multi";
  return areMeasurements(column) ? "regression" : "single";
}

/** Fractions (a few rows may be faulty), or whole numbers of which there are too many for classes. */
function areMeasurements({ values }: Column): boolean {
  const numbers = values.map(numberOf).filter((number) => number !== undefined);
  if (numbers.some((number) => !Number.isInteger(number))) {
    return numbers.length > values.length / 2;
  }
  const different = new Set(numbers).size;
  return (
    numbers.length === values.length &&
    different > FEW_CLASSES &&
    values.length < ROWS_PER_CLASS * different
  );
}

function checkSettings(
  name: ProblemName,
  labelColumns: readonly string[],
  { classWeights, labelSeparator }: TaskOptions,
): void {
  const problems: string[] = [];
  if (name !== "single" && classWeights === "balanced") {
    problems.push("classWeights: only single labels have weights, expected none, got balanced");
  }
  if (name !== "multi" && labelSeparator !== undefined) {
    problems.push("labelSeparator: only multi-label data has separators, expected none");
  }
  if (name !== "multi" && labelColumns.length > 1) {
    problems.push(`labelColumn: expected one column, got ${labelColumns.length}`);
  }
  if (problems.length === 0) return;
  throw new LowrankError(
    "usage",
    `${problems.join("; ")}. The problem type is ${name}; name another one with problemType.`,
  );
}

/** @file Numbers as targets of a regression. */

import { LowrankError } from "../errors.ts";
import { placeOf, show, summarize, type Column } from "./table.ts";

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/** The number that a value is or spells; undefined for anything else, NaN and infinities included. */
export function numberOf(value: unknown): number | undefined {
  const number =
    typeof value === "number" || typeof value === "bigint"
      ? Number(value)
      : typeof value === "string" && NUMBER.test(value.trim())
        ? Number(value)
        : NaN;
  // Targets are computed with in float32.
  return Number.isFinite(Math.fround(number)) ? number : undefined;
}

/**
 * The numbers of a column.
 *
 * @throws LowrankError "data" naming the places without a finite number
 */
export function numericTargets(column: Column): number[] {
  const problems: string[] = [];
  const numbers = column.values.map((value, index) => {
    const number = numberOf(value);
    if (number !== undefined) return number;
    // JSON.stringify shows NaN and infinities as null.
    const got = typeof value === "number" ? String(value) : show(value);
    problems.push(
      `${placeOf(column, index)}: column ${show(column.name)}: expected a finite number, got ${got}`,
    );
    return NaN;
  });
  if (problems.length === 0) return numbers;
  throw new LowrankError(
    "data",
    summarize(problems, "Correct or remove these rows, or name another column with labelColumn"),
  );
}

import { expect, it } from "vitest";
import type { Column } from "./table.ts";
import { numberOf, numericTargets } from "./targets.ts";

const column = (values: unknown[]): Column => ({
  file: "d.csv",
  name: "score",
  unit: "line",
  values,
  lines: values.map((_, i) => i + 2),
});

it("takes numbers and texts of numbers", () => {
  expect(numericTargets(column([1, -2.5, "3", " .5 ", "1e-2", "+4.", 10n]))).toEqual([
    1, -2.5, 3, 0.5, 0.01, 4, 10,
  ]);
});

it("knows what is no number", () => {
  for (const value of ["", "1,5", "0x10", "NaN", "1e999", true, null, [1], Infinity, 1e39]) {
    expect(numberOf(value)).toBeUndefined();
  }
});

it("names the places without a finite number", () => {
  expect(() => numericTargets(column([1, "n/a", NaN, Infinity, ""]))).toThrowError(
    [
      'd.csv: line 3: column "score": expected a finite number, got "n/a"',
      'd.csv: line 4: column "score": expected a finite number, got NaN',
      'd.csv: line 5: column "score": expected a finite number, got Infinity',
      'd.csv: line 6: column "score": expected a finite number, got "". ' +
        "Correct or remove these rows, or name another column with labelColumn.",
    ].join("\n"),
  );
});

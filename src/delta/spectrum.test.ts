import { describe, expect, it } from "vitest";
import { matrixOf, times, zeroMatrix, type Matrix } from "../linalg/matrix.ts";
import { randomGenerator } from "../random.ts";
import { energyOf, energyWithin, rankForEnergy, singularValues } from "./spectrum.ts";

function randomMatrix(rows: number, columns: number, seed = 1): Matrix {
  const random = randomGenerator(seed, "matrix");
  return matrixOf(
    rows,
    columns,
    Array.from({ length: rows * columns }, () => random.normal()),
  );
}

/** Sums over a few hundred products of numbers of order 1. */
const ROUNDING = 1e-11;

describe("singular values of a change", () => {
  it.each([
    [3, 12, 9],
    [9, 12, 9],
    [20, 12, 9],
  ])("a product of inner size %i and the matrix that it makes have the same", (inner, m, n) => {
    const [left, right] = [randomMatrix(m, inner), randomMatrix(inner, n, 2)];
    const [ofProduct, all] = [singularValues({ left, right }), singularValues(times(left, right))];
    expect(ofProduct).toHaveLength(Math.min(inner, m, n));
    for (const [k, value] of ofProduct.entries()) {
      expect(Math.abs(value - all[k]!)).toBeLessThan(ROUNDING * all[0]!);
    }
  });

  it("are descending, and their squares sum to the squared norm", () => {
    const x = randomMatrix(15, 40);
    const values = singularValues(x);
    expect(values).toHaveLength(15);
    expect([...values].sort((a, b) => b - a)).toEqual([...values]);
    expect(energyOf(values)).toBeCloseTo(energyOf(x.data), 10);
  });

  it("of one row or column is its length; of zeros zero", () => {
    expect(singularValues(matrixOf(1, 2, [3, 4]))[0]).toBeCloseTo(5, 12);
    expect(singularValues(matrixOf(2, 1, [3, 4]))[0]).toBeCloseTo(5, 12);
    expect([...singularValues(zeroMatrix(2, 3))]).toEqual([0, 0]);
  });
});

describe("energy", () => {
  const values = Float64Array.of(3, 2, 1); // squares 9, 4, 1

  it("within a rank is the share of the squares", () => {
    expect(energyWithin(values, 1)).toBeCloseTo(9 / 14, 15);
    expect(energyWithin(values, 2)).toBeCloseTo(13 / 14, 15);
    expect(energyWithin(values, 5)).toBe(1);
    expect(energyWithin(Float64Array.of(0, 0), 1)).toBe(1);
  });

  it("decides the smallest rank that has it", () => {
    expect(rankForEnergy(values, 9 / 14)).toBe(1);
    expect(rankForEnergy(values, 0.65)).toBe(2);
    expect(rankForEnergy(values, 1)).toBe(3);
    expect(rankForEnergy(Float64Array.of(3, 2, 1e-9), 1)).toBe(2);
    expect(rankForEnergy(Float64Array.of(0, 0), 0.5)).toBe(1);
  });

  it.each([0, -1, 1.01, Number.NaN])("refuses a share of %d", (share) => {
    expect(() => rankForEnergy(values, share)).toThrow(
      `energy: expected a share above 0 and at most 1, got ${share}. Pass for example 0.95.`,
    );
  });
});

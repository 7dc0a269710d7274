import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { matrixOf, times, transposed, type Matrix } from "../linalg/matrix.ts";
import { thinQr } from "../linalg/qr.ts";
import { randomGenerator } from "../random.ts";
import { approximate, type Approximation } from "./approximate.ts";
import { halves, residualNorm } from "./factors.ts";
import { energyOf, singularValues } from "./spectrum.ts";

function randomMatrix(rows: number, columns: number, seed: number): Matrix {
  const random = randomGenerator(seed, "matrix", rows, columns);
  return matrixOf(
    rows,
    columns,
    Array.from({ length: rows * columns }, () => random.normal()),
  );
}

/** U·S·Vᵀ */
function formed({ left, values, right }: Approximation): Matrix {
  const scaled = { ...left, data: left.data.slice() };
  for (let i = 0; i < scaled.data.length; i++) {
    scaled.data[i]! *= values[Math.floor(i / left.columns)]!;
  }
  return times(transposed(scaled), right);
}

function distance(a: Matrix, b: Matrix): number {
  return Math.sqrt(energyOf(a.data.map((value, i) => value - b.data[i]!)));
}

/** L·R fitted to A: the best left factor for a right one [r, n], the best right one for that, `steps` times over. */
function alternatingLeastSquares(a: Matrix, start: Matrix, steps: number): Matrix {
  let right = start;
  let left = right;
  for (let step = 0; step < steps; step++) {
    const rows = thinQr(transposed(right)).q; // orthonormal, [r, n]
    left = thinQr(times(a, transposed(rows))).q; // orthonormal, [r, m]
    right = times(left, a);
  }
  return times(transposed(left), right);
}

/** Relative, of sums in float64 over a few hundred numbers. */
const ROUNDING = 1e-9;
const size = fc.integer({ min: 1, max: 12 });
const cases = fc.record({ m: size, n: size, seed: fc.integer(), r: size });

describe("the best approximation of a rank (Eckart and Young)", () => {
  it("is off by the norm of the singular values that it leaves out", () => {
    fc.assert(
      fc.property(cases, ({ m, n, seed, r }) => {
        const a = randomMatrix(m, n, seed);
        const rank = Math.min(r, m, n);
        const approximation = approximate(a, { rank });
        const values = singularValues(a);
        const tail = Math.sqrt(energyOf(values.slice(rank)));
        expect(approximation.rank).toBe(rank);
        expect(Math.abs(distance(a, formed(approximation)) - tail)).toBeLessThan(
          1e-7 * approximation.norm,
        );
        const kept = 1 - (tail / approximation.norm) ** 2;
        expect(Math.abs(approximation.energyKept - kept)).toBeLessThan(ROUNDING);
      }),
    );
  });

  it("is no worse than any other of its rank, random or fitted by alternating least squares", () => {
    fc.assert(
      fc.property(cases, fc.integer(), ({ m, n, seed, r }, other) => {
        const a = randomMatrix(m, n, seed);
        const rank = Math.min(r, m, n);
        const best = distance(a, formed(approximate(a, { rank })));
        const slack = ROUNDING * Math.sqrt(energyOf(a.data));
        const random = times(randomMatrix(m, rank, other), randomMatrix(rank, n, other));
        const fitted = alternatingLeastSquares(a, randomMatrix(rank, n, other), 5);
        expect(best).toBeLessThanOrEqual(distance(a, random) + slack);
        expect(best).toBeLessThanOrEqual(distance(a, fitted) + slack);
      }),
    );
  });

  it("has the smallest rank that keeps a share of the energy", () => {
    const share = fc.double({ min: 0.01, max: 0.999, noNaN: true });
    fc.assert(
      fc.property(cases, share, ({ m, n, seed }, energy) => {
        const a = randomMatrix(m, n, seed);
        const { rank, energyKept } = approximate(a, { energy });
        expect(energyKept).toBeGreaterThan(energy - ROUNDING);
        if (rank > 1) expect(approximate(a, { rank: rank - 1 }).energyKept).toBeLessThan(energy);
      }),
    );
  });

  it("is the same for a product as for the matrix that it makes", () => {
    fc.assert(
      fc.property(cases, fc.integer({ min: 1, max: 15 }), ({ m, n, seed, r }, inner) => {
        const [left, right] = [randomMatrix(m, inner, seed), randomMatrix(inner, n, seed)];
        const rank = Math.min(r, m, n, inner);
        const a = times(left, right);
        const [ofProduct, ofMatrix] = [
          approximate({ left, right }, { rank }),
          approximate(a, { rank }),
        ];
        const slack = 1e-7 * ofMatrix.norm;
        const errors = [ofProduct, ofMatrix].map((own) => distance(a, formed(own)));
        expect(Math.abs(errors[0]! - errors[1]!)).toBeLessThan(slack);
        expect(Math.abs(ofProduct.norm - ofMatrix.norm)).toBeLessThan(slack);
      }),
    );
  });

  it("keeps a change of its rank up to float32's rounding, and a matrix of one row", () => {
    const low = times(randomMatrix(20, 3, 1), randomMatrix(3, 15, 2));
    const approximation = approximate(low, { rank: 3 });
    expect(residualNorm(low, halves(approximation))).toBeLessThan(1e-6 * approximation.norm);
    const row = approximate(matrixOf(1, 3, [1, 2, 2]), { rank: 1 });
    expect(row.values[0]).toBeCloseTo(3, 12);
    expect(row.energyKept).toBe(1);
  });
});

describe("a large matrix", () => {
  const [m, n] = [1030, 1040];
  /** Singular values of about 1000 / k over 40 directions, and noise. */
  function decaying(): Matrix {
    const [left, right] = [randomMatrix(m, 40, 1), randomMatrix(40, n, 2)];
    const scaled = right.data.map((value, i) => value / (1 + Math.floor(i / n)));
    const matrix = times(left, { ...right, data: scaled });
    const noise = randomMatrix(m, n, 3);
    return { ...matrix, data: matrix.data.map((value, i) => value + 0.01 * noise.data[i]!) };
  }

  it("is approximated by random projection, which keeps as much of the energy as the exact decomposition", () => {
    const a = decaying();
    const projected = approximate(a, { rank: 8 });
    expect(projected.isExact).toBe(false);
    const values = singularValues(a);
    for (const [k, value] of projected.values.entries()) {
      expect(Math.abs(value / values[k]! - 1)).toBeLessThan(1e-6);
      expect(value).toBeLessThan(values[k]! * (1 + ROUNDING));
    }
    const both = halves(projected);
    const lost = Math.sqrt(1 - projected.energyKept) * projected.norm;
    expect(Math.abs(residualNorm(a, both) - lost)).toBeLessThan(1e-6 * projected.norm);

    const { rank, energyKept } = approximate(a, { energy: 0.9 });
    const shares = values.map((value) => value ** 2 / energyOf(values));
    const sum = (count: number): number => shares.slice(0, count).reduce((x, y) => x + y, 0);
    expect(energyKept).toBeGreaterThanOrEqual(0.9);
    expect(sum(rank - 1)).toBeLessThan(0.9);
  });
});

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { matrixOf, times, transposed, type Matrix } from "../linalg/matrix.ts";
import { combine, type Change, type CombineOptions } from "./combine.ts";

interface Golden extends Partial<CombineOptions> {
  readonly combination: CombineOptions["combination"];
  readonly weights: Readonly<Record<string, number>>;
  readonly rank: number;
  /** ΔW of the result: [out, in], [vocabulary, dim]. */
  readonly linear: number[][];
  readonly embedding: number[][];
  readonly a?: number[][];
  readonly b?: number[][];
}

/** What add_weighted_adapter of peft 0.21.2 makes of three adapters on Linear(6, 5) and Embedding(7, 4), whose matrices have the
 * entries of `values` with the places below. */
const GOLDEN = JSON.parse(
  readFileSync(join(import.meta.dirname, "combine.golden.json"), "utf8"),
) as Golden[];

/** PEFT computes in float32, and the file has seven digits after the point. */
const ROUNDING = 3e-6;

/** Entries sin(1 + 7i + 3j + 5·place): no two of the same magnitude. */
function values(rows: number, columns: number, place: number): Matrix {
  const entry = (i: number, j: number): number => Math.sin(1 + 7 * i + 3 * j + 5 * place);
  return matrixOf(
    rows,
    columns,
    Array.from({ length: rows * columns }, (_, k) => entry(Math.floor(k / columns), k % columns)),
  );
}

const ADAPTERS = { one: { r: 2, alpha: 3 }, two: { r: 2, alpha: 5 }, three: { r: 3, alpha: 2 } };

function changes(module: "linear" | "embedding", weights: Golden["weights"]): Change[] {
  return Object.entries(ADAPTERS).flatMap(([name, { r, alpha }], n): Change[] => {
    const weight = weights[name];
    if (weight === undefined) return [];
    const [a, b] =
      module === "linear"
        ? [values(r, 6, n), values(5, r, n + 4)]
        : [values(r, 7, n + 2), values(4, r, n + 7)];
    return [{ a, b, scale: alpha / r, weight }];
  });
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);
}

describe("combined adapters agree with PEFT", () => {
  for (const golden of GOLDEN) {
    const { combination, weights, rank, density = 1, majoritySign = "total" } = golden;
    const title = `${combination} of ${JSON.stringify(weights)}, density ${density}, ${majoritySign}, rank ${rank}`;
    test(title, () => {
      const options = { combination, density, majoritySign, seed: 0 } as const;
      const linear = combine(changes("linear", weights), rank, options, "linear");
      expect([linear.a.rows, linear.b.columns]).toEqual([rank, rank]);
      expect(largestDifference(times(linear.b, linear.a).data, golden.linear.flat())).toBeLessThan(
        ROUNDING,
      );
      if (golden.a)
        expect(largestDifference(linear.a.data, golden.a.flat())).toBeLessThan(ROUNDING);
      if (golden.b)
        expect(largestDifference(linear.b.data, golden.b.flat())).toBeLessThan(ROUNDING);
      const { a, b } = combine(changes("embedding", weights), rank, options, "embedding");
      expect(largestDifference(transposed(times(b, a)).data, golden.embedding.flat())).toBeLessThan(
        ROUNDING,
      );
    });
  }
});

test("DARE keeps a share of the values, scaled up, the same for the same seed", () => {
  const ones = matrixOf(
    40,
    40,
    Array.from({ length: 1600 }, () => 1),
  );
  const change = { a: ones, b: ones, scale: 1, weight: 1 };
  const options = {
    combination: "dare_linear",
    density: 0.25,
    majoritySign: "total",
    seed: 3,
  } as const;
  const { a, b } = combine([change], 40, options, "place");
  expect(new Set(a.data)).toEqual(new Set([0, 4]));
  const share = a.data.filter((value) => value !== 0).length / 1600;
  expect(Math.abs(share - 0.25)).toBeLessThan(0.05);
  expect(a.data).not.toEqual(b.data);
  expect(combine([change], 40, options, "place").a).toEqual(a);
  expect(combine([change], 40, { ...options, seed: 4 }, "place").a).not.toEqual(a);
});

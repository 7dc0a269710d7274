/**
 * @file Adapters combined into one, by weight. Sources: "Editing Models with Task Arithmetic", https://arxiv.org/abs/2212.04089; TIES
 * https://arxiv.org/abs/2306.01708; DARE https://arxiv.org/abs/2311.03099. What is combined, and in which order, follows peft
 * 0.21's add_weighted_adapter, so that results agree: A and B apart (by name), or ΔW = B·A ("…_svd", then split again).
 */
import { LowrankError } from "../errors.ts";
import { addScaled, rowOf, times, transposed, zeroMatrix, type Matrix } from "../linalg/matrix.ts";
import { svdOfProduct, truncatedSvd, type Svd } from "../linalg/svd.ts";
import { randomGenerator, type RandomGenerator } from "../random.ts";

/** Ways to combine. "cat" and "svd" add the changes ΔW exactly (svd as far as the rank allows); the others combine A and B
 * apart, which is cheap and an approximation, or prune the changes first. */
export const COMBINATIONS = [
  "linear",
  "cat",
  "svd",
  "ties",
  "ties_svd",
  "dare_linear",
  "dare_linear_svd",
  "dare_ties",
  "dare_ties_svd",
  "magnitude_prune",
  "magnitude_prune_svd",
] as const;
export type Combination = (typeof COMBINATIONS)[number];

export interface CombineOptions {
  readonly combination: Combination;
  /** Share of the values that pruning keeps; for the ways that prune. */
  readonly density: number;
  /** How TIES elects the sign of a value: by the sum, or by the number of adapters. */
  readonly majoritySign: "total" | "frequency";
  /** Of DARE's random pruning. */
  readonly seed: number;
}

/** One adapter's change of a module: ΔW = scale·B·A. */
export interface Change {
  readonly a: Matrix;
  readonly b: Matrix;
  readonly scale: number;
  /** Its part in the sum; may be negative. */
  readonly weight: number;
}

/** A [rank, in], B [out, rank] of the combined adapter, to be scaled by 1; what the changes do not fill is 0. `place` names
 * the module, for random numbers. */
export function combine(
  changes: readonly Change[],
  rank: number,
  options: CombineOptions,
  place: string,
): { a: Matrix; b: Matrix } {
  const { a, b } = factorsOf(changes, rank, options, place);
  return { a: resized(a, rank, a.columns), b: resized(b, b.rows, rank) };
}

function factorsOf(
  changes: readonly Change[],
  rank: number,
  options: CombineOptions,
  place: string,
): { a: Matrix; b: Matrix } {
  const { combination } = options;
  const step = stepOf(options, place);
  if (combination === "cat") return stacked(changes);
  if (combination === "svd") {
    const { a, b } = stacked(changes);
    const isLow = a.rows <= Math.min(a.columns, b.rows);
    const most = Math.min(rank, isLow ? a.rows : Math.min(a.columns, b.rows));
    return fromSvd(isLow ? svdOfProduct(b, a, most) : truncatedSvd(times(b, a), most));
  }
  if (combination.endsWith("_svd")) {
    const deltas = changes.map(({ a, b, scale }) => scaled(times(b, a), scale));
    const sum = step(
      deltas,
      changes.map(({ weight }) => weight),
    );
    return fromSvd(truncatedSvd(sum, Math.min(rank, sum.rows, sum.columns)));
  }
  // A product of two sums: each side gets the root of the factor, one of them its sign.
  const factors = changes.map(({ scale, weight }) => scale * weight);
  const roots = factors.map((factor) => Math.sqrt(Math.abs(factor)));
  const a = step(
    changes.map((change) => change.a),
    roots.map((root, i) => (factors[i]! < 0 ? -root : root)),
  );
  const b = step(
    changes.map((change) => change.b),
    roots,
  );
  return { a, b };
}

/** Whether a way to combine needs adapters of one rank. */
export function needsEqualRanks(combination: Combination): boolean {
  return combination !== "cat" && !combination.endsWith("svd");
}

/** Whether a way to combine prunes, and so needs a density. */
function prunes(combination: Combination): boolean {
  return /ties|dare|prune/.test(combination);
}

/** [A₁; A₂; …] with weights and scales, and [B₁ B₂ …]: their product is the sum of the changes. */
function stacked(changes: readonly Change[]): { a: Matrix; b: Matrix } {
  const rows = changes.flatMap(({ a, scale, weight }) =>
    Array.from({ length: a.rows }, (_, k) => rowOf(a, k).map((value) => value * weight * scale)),
  );
  const columns = changes.flatMap(({ b }) => {
    const byColumn = transposed(b);
    return Array.from({ length: b.columns }, (_, k) => rowOf(byColumn, k));
  });
  return { a: ofRows(rows), b: transposed(ofRows(columns)) };
}

function ofRows(rows: readonly Float64Array[]): Matrix {
  const result = zeroMatrix(rows.length, rows[0]!.length);
  for (const [k, row] of rows.entries()) rowOf(result, k).set(row);
  return result;
}

/** A matrix cut, or filled up with zeros. */
function resized(x: Matrix, rows: number, columns: number): Matrix {
  const result = zeroMatrix(rows, columns);
  for (let k = 0; k < Math.min(rows, x.rows); k++) {
    rowOf(result, k).set(rowOf(x, k).subarray(0, Math.min(columns, x.columns)));
  }
  return result;
}

/** B = U·S, A = Vᵀ. */
function fromSvd({ left, values, right }: Svd): { a: Matrix; b: Matrix } {
  const b = zeroMatrix(left.rows, left.columns);
  for (const [k, value] of values.entries()) addScaled(rowOf(b, k), value, rowOf(left, k));
  return { a: right, b: transposed(b) };
}

function scaled(x: Matrix, factor: number): Matrix {
  return { ...x, data: x.data.map((value) => value * factor) };
}

type Step = (tensors: readonly Matrix[], weights: readonly number[]) => Matrix;

/** Pruning, election of signs, and the weighted sum, as a way to combine has them. */
function stepOf({ combination, density, majoritySign, seed }: CombineOptions, place: string): Step {
  let uses = 0;
  const prune = (x: Matrix): Matrix =>
    combination.startsWith("dare")
      ? pruneRandomly(x, density, randomGenerator(seed, "dare", place, uses++))
      : pruneSmallest(x, density);
  return (tensors, weights) => {
    const kept = prunes(combination) && density < 1 ? tensors.map(prune) : tensors;
    return combination.includes("ties")
      ? sumOfMajority(kept, weights, majoritySign)
      : weightedSum(kept, weights);
  };
}

function weightedSum(tensors: readonly Matrix[], weights: readonly number[]): Matrix {
  const result = zeroMatrix(tensors[0]!.rows, tensors[0]!.columns);
  for (const [i, { data }] of tensors.entries()) addScaled(result.data, weights[i]!, data);
  return result;
}

/** Keep the largest magnitudes; of equal ones, those that come first. */
function pruneSmallest(x: Matrix, density: number): Matrix {
  const keep = Math.floor(density * x.data.length);
  const order = [...x.data.keys()].sort(
    (i, j) => Math.abs(x.data[j]!) - Math.abs(x.data[i]!) || i - j,
  );
  const result = zeroMatrix(x.rows, x.columns);
  for (const index of order.slice(0, keep)) result.data[index] = x.data[index]!;
  return result;
}

/** Keep each value with probability `density`, and scale up what is kept. */
function pruneRandomly(x: Matrix, density: number, random: RandomGenerator): Matrix {
  return { ...x, data: x.data.map((value) => (random.uniform() < density ? value / density : 0)) };
}

/** For each element the sign with the greater sum (or number) wins, and those that have it are averaged after weighting. */
function sumOfMajority(
  tensors: readonly Matrix[],
  weights: readonly number[],
  by: CombineOptions["majoritySign"],
): Matrix {
  const result = zeroMatrix(tensors[0]!.rows, tensors[0]!.columns);
  for (let i = 0; i < result.data.length; i++) {
    const values = tensors.map(({ data }) => data[i]!);
    const votes = by === "total" ? values : values.map(Math.sign);
    const sign = votes.reduce((total, value) => total + value, 0) >= 0 ? 1 : -1;
    let [sum, count] = [0, 0];
    for (const [k, value] of values.entries()) {
      if (Math.sign(value) !== sign) continue;
      sum += weights[k]! * value;
      count++;
    }
    result.data[i] = sum / Math.max(1, count);
  }
  return result;
}

/** Refuse what no way to combine can do. Throws LowrankError("config"). */
export function checkDensity(combination: Combination, density: number | undefined): number {
  if (!prunes(combination)) return 1;
  if (density !== undefined && density > 0 && density <= 1) return density;
  throw new LowrankError(
    "config",
    `${combination}: expected a density above 0 and at most 1, got ${density ?? "none"}. Pass for example 0.5.`,
  );
}

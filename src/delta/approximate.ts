/**
 * @file The best approximation of a change by a matrix of low rank: its truncated singular value decomposition (Eckart and
 * Young, "The approximation of one matrix by another of lower rank", 1936). Exact for small matrices and for products, by
 * random projection for large ones.
 */
import type { Matrix } from "../linalg/matrix.ts";
import { randomizedSvd, svdOfProduct, truncatedSvd, type Svd } from "../linalg/svd.ts";
import { isProduct, type Change } from "./changes.ts";
import { cheapestForm, energyOf, energyWithin, rankForEnergy } from "./spectrum.ts";

/** How good an approximation is to be: of a rank, or of the smallest rank that has a share of the energy. */
export type Target = { readonly rank: number } | { readonly energy: number };

/** ΔW ≈ Σ_{k≤r} sₖ·uₖ·vₖᵀ, the closest matrix of rank r in the Frobenius norm. */
export interface Approximation extends Svd {
  /** r */
  readonly rank: number;
  /** ‖ΔW‖ */
  readonly norm: number;
  /** Σ_{k≤r} sₖ² / ‖ΔW‖²; 1 for a change of zeros. */
  readonly energyKept: number;
  /** Whether the singular values are those of ΔW, or of a random projection of it, never larger ones. */
  readonly isExact: boolean;
}

/** From this smaller side on, the exact decomposition (which grows with its cube) takes longer than a random projection. */
const RANDOMIZED_FROM = 1024;
/** A projection pays off while it is this much narrower than the matrix. */
const PROJECTION_SHARE = 1 / 8;
/** Directions beyond the rank: they catch what a random projection mixes into the last ones. */
const OVERSAMPLING = 10;
/** Rounds of subspace iteration: 8 leave errors of 1e-9 where singular values fall like 1/k. */
const ITERATIONS = 8;

/** Approximate ΔW [m, n]; a rank above what the matrix can have means all of it. */
export function approximate(change: Change, target: Target): Approximation {
  const form = cheapestForm(change);
  if (!isProduct(form)) {
    const norm = Math.sqrt(energyOf(form.data));
    return projected(form, norm, target) ?? exact(form, norm, target);
  }
  const most = form.left.columns;
  const all = svdOfProduct(form.left, form.right, most);
  const rank = rankOf(all.values, target);
  return {
    ...truncated(all, rank),
    norm: Math.sqrt(energyOf(all.values)),
    energyKept: energyWithin(all.values, rank),
    isExact: true,
  };
}

function exact(matrix: Matrix, norm: number, target: Target): Approximation {
  const side = Math.min(matrix.rows, matrix.columns);
  const choice =
    "rank" in target
      ? Math.min(target.rank, side)
      : (values: Float64Array) => rankForEnergy(values, target.energy);
  return described(truncatedSvd(matrix, choice), norm, true);
}

/** By random projection; undefined where the exact way is better. */
function projected(matrix: Matrix, norm: number, target: Target): Approximation | undefined {
  const side = Math.min(matrix.rows, matrix.columns);
  if (side < RANDOMIZED_FROM) return undefined;
  const widest = side * PROJECTION_SHARE;
  if ("rank" in target) {
    const width = target.rank + OVERSAMPLING;
    if (width > widest) return undefined;
    return described(truncated(randomizedSvd(matrix, width, ITERATIONS), target.rank), norm, false);
  }
  for (let width = 32; width <= widest; width *= 2) {
    const svd = randomizedSvd(matrix, width, ITERATIONS);
    const rank = rankWithin(svd.values, target.energy * norm * norm);
    const isCertain = rank !== undefined && rank <= width - OVERSAMPLING;
    if (isCertain) return described(truncated(svd, rank), norm, false);
  }
  return undefined;
}

/** The number of leading values whose squares reach a sum; undefined where they do not. */
function rankWithin(values: Float64Array, wanted: number): number | undefined {
  let sum = 0;
  for (const [index, value] of values.entries()) {
    sum += value * value;
    if (sum >= wanted) return index + 1;
  }
  return undefined;
}

function rankOf(values: Float64Array, target: Target): number {
  return "rank" in target
    ? Math.min(target.rank, values.length)
    : rankForEnergy(values, target.energy);
}

function described(svd: Svd, norm: number, isExact: boolean): Approximation {
  const { values } = svd;
  const share = norm === 0 ? 1 : energyOf(values) / (norm * norm);
  return { ...svd, rank: values.length, norm, energyKept: Math.min(1, share), isExact };
}

/** The leading singular values and vectors. */
function truncated({ left, values, right }: Svd, rank: number): Svd & { rank: number } {
  const first = (x: Matrix): Matrix => ({
    rows: rank,
    columns: x.columns,
    data: x.data.subarray(0, rank * x.columns),
  });
  return { left: first(left), values: values.slice(0, rank), right: first(right), rank };
}

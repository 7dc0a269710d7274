/**
 * @file Truncated singular value decompositions: A ≈ Σ sₖ·uₖ·vₖᵀ with the largest sₖ.
 *
 * The exact one takes the leading eigenvectors V of AᵀA and finishes on A·V by one-sided Jacobi rotations, which restore what
 * squaring A lost within that subspace. Squaring in float64 costs singular values below about 1e-8 of the largest their
 * digits; weights are float32, where those are rounding. 768 x 2304 takes about 1.5 s on one core.
 * Sources: Golub and Van Loan, "Matrix Computations", 8.6; Halko, Martinsson and Tropp, https://arxiv.org/abs/0909.4061
 */
import { randomGenerator } from "../random.ts";
import {
  dot,
  rowOf,
  times,
  timesTransposed,
  transposed,
  zeroMatrix,
  type Matrix,
} from "./matrix.ts";
import { thinQr } from "./qr.ts";
import { eigenvalues, largestEigenPairs } from "./symmetric-eigen.ts";

export interface Svd {
  /** Left singular vectors as rows: [rank, m]. Zero where the singular value is. */
  readonly left: Matrix;
  /** Descending: [rank] */
  readonly values: Float64Array;
  /** Right singular vectors as rows: [rank, n]. */
  readonly right: Matrix;
}

/** How many singular values are wanted: a number, or a function of all of them, descending. */
export type RankChoice = number | ((values: Float64Array) => number);

/** The `rank` largest singular values of A [m, n] with their vectors. rank ≤ min(m, n). */
export function truncatedSvd(a: Matrix, rank: RankChoice): Svd {
  if (a.rows < a.columns) {
    const { left, values, right } = truncatedSvd(transposed(a), rank);
    return { left: right, values, right: left };
  }
  const columns = transposed(a);
  const count = typeof rank === "number" ? rank : (squares: Float64Array) => rank(roots(squares));
  const { vectors } = largestEigenPairs(gram(columns), count);
  const images = timesTransposed(vectors, a); // row k: A·vₖ
  const { lengths } = orthogonalize(images, vectors);
  return sorted({ left: images, values: lengths, right: vectors });
}

/** All singular values of A [m, n], descending: min(m, n) of them. Those below about 1e-8 of the largest are rounding. */
export function singularValuesOf(a: Matrix): Float64Array {
  const squared = gram(a.rows < a.columns ? a : transposed(a));
  return roots(eigenvalues(squared));
}

const roots = (squares: Float64Array): Float64Array =>
  squares.map((value) => Math.sqrt(Math.max(0, value)));

/**
 * The same by random projection and `iterations` rounds of subspace iteration: faster for large matrices, exact only as far as the
 * spectrum decays. The same matrix always gives the same result. Follows torch.svd_lowrank.
 */
export function randomizedSvd(a: Matrix, rank: number, iterations: number): Svd {
  const random = randomGenerator(0, "randomizedSvd");
  const start = zeroMatrix(rank, a.columns);
  for (let i = 0; i < start.data.length; i++) start.data[i] = random.normal();
  let basis = orthonormal(timesTransposed(start, a));
  for (let i = 0; i < iterations; i++) {
    basis = orthonormal(timesTransposed(orthonormal(times(basis, a)), a));
  }
  const images = times(basis, a); // row k: Aᵀ·qₖ
  const { lengths } = orthogonalize(images, basis);
  return sorted({ left: basis, values: lengths, right: images });
}

/** The same of a product L·R, which is never formed: L [m, k], R [k, n] with k below m and n. rank ≤ k. */
export function svdOfProduct(l: Matrix, r: Matrix, rank: RankChoice): Svd {
  const [ofL, ofR] = [thinQr(l), thinQr(transposed(r))];
  // L·R = Qₗ·(Rₗ·Rᵣᵀ)·Qᵣᵀ
  const core = truncatedSvd(timesTransposed(ofL.r, ofR.r), rank);
  return { left: times(core.left, ofL.q), values: core.values, right: times(core.right, ofR.q) };
}

/** X·Xᵀ, above the diagonal. */
function gram(x: Matrix): Matrix {
  const result = zeroMatrix(x.rows, x.rows);
  for (let i = 0; i < x.rows; i++) {
    const row = rowOf(x, i);
    for (let j = i; j < x.rows; j++) result.data[i * x.rows + j] = dot(row, rowOf(x, j));
  }
  return result;
}

/** Orthonormal rows that span those of X. */
function orthonormal(x: Matrix): Matrix {
  return thinQr(transposed(x)).q;
}

/** Pairs of rows whose cosine is below this are orthogonal. */
const ORTHOGONAL = 1e-15;
const MAX_SWEEPS = 30;

/** Rotate the rows of X among each other, and those of Y alike, until X's are orthogonal; then X's are divided by their lengths. */
function orthogonalize(x: Matrix, y: Matrix): { lengths: Float64Array } {
  for (let sweep = 0, rotated = true; rotated && sweep < MAX_SWEEPS; sweep++) {
    rotated = false;
    for (let i = 0; i < x.rows; i++) {
      for (let j = i + 1; j < x.rows; j++) {
        const [p, q] = [rowOf(x, i), rowOf(x, j)];
        const [pp, qq, pq] = [dot(p, p), dot(q, q), dot(p, q)];
        if (pq === 0 || Math.abs(pq) <= ORTHOGONAL * Math.sqrt(pp) * Math.sqrt(qq)) continue;
        rotated = true;
        const zeta = (qq - pp) / (2 * pq);
        const tangent = Math.sign(zeta || 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cosine = 1 / Math.hypot(1, tangent);
        rotate(p, q, cosine, cosine * tangent);
        rotate(rowOf(y, i), rowOf(y, j), cosine, cosine * tangent);
      }
    }
  }
  const lengths = new Float64Array(x.rows);
  for (let k = 0; k < x.rows; k++) {
    const row = rowOf(x, k);
    lengths[k] = Math.sqrt(dot(row, row));
    if (lengths[k] !== 0) for (let i = 0; i < row.length; i++) row[i]! /= lengths[k]!;
  }
  return { lengths };
}

function rotate(p: Float64Array, q: Float64Array, cosine: number, sine: number): void {
  for (let i = 0; i < p.length; i++) {
    const [a, b] = [p[i]!, q[i]!];
    p[i] = cosine * a - sine * b;
    q[i] = sine * a + cosine * b;
  }
}

function sorted({ left, values, right }: Svd): Svd {
  const order = [...values.keys()].sort((a, b) => values[b]! - values[a]!);
  const permute = (x: Matrix): Matrix => {
    const result = zeroMatrix(x.rows, x.columns);
    for (const [to, from] of order.entries()) rowOf(result, to).set(rowOf(x, from));
    return result;
  };
  return {
    left: permute(left),
    values: Float64Array.from(order, (index) => values[index]!),
    right: permute(right),
  };
}

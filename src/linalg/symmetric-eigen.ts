/**
 * @file The largest eigenvalues of a symmetric matrix and their vectors: reduction to a tridiagonal matrix, bisection for the
 * values, inverse iteration for the vectors. Only what is asked for is computed: the reduction, n³/3 multiplications and as many
 * additions, is nearly all of the work. Sources: Golub and Van Loan, "Matrix Computations", 8.3 and 8.4; LAPACK's dstein.
 */
import { addScaled, dot, rowOf, zeroMatrix, type Matrix } from "./matrix.ts";
import { randomGenerator } from "../random.ts";
import { reflect, reflector } from "./qr.ts";

export interface EigenPairs {
  /** Descending. */
  readonly values: Float64Array;
  /** Orthonormal, as rows: [count, n]. */
  readonly vectors: Matrix;
}

interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** Entry i is at row i, column i + 1. */
  readonly off: Float64Array;
}

/** The `count` largest eigenvalues of a symmetric matrix, or as many as a function of all of them says; what stands above the
 * diagonal is read, and overwritten. */
export function largestEigenPairs(
  a: Matrix,
  count: number | ((values: Float64Array) => number),
): EigenPairs {
  const { tridiagonal, taus } = reduce(a);
  const values = chosenEigenvalues(tridiagonal, count);
  const vectors = eigenvectors(tridiagonal, values);
  for (let k = 0; k < values.length; k++) {
    for (let i = taus.length - 1; i >= 0; i--) {
      const v = rowOf(a, i).slice(i + 1);
      v[0] = 1;
      reflect(rowOf(vectors, k).subarray(i + 1), v, taus[i]!);
    }
  }
  return { values, vectors };
}

/** All eigenvalues of a symmetric matrix, descending; what stands above the diagonal is read, and overwritten. */
export function eigenvalues(a: Matrix): Float64Array {
  return largestEigenvalues(reduce(a).tridiagonal, a.rows);
}

/** A = Q·T·Qᵀ. The reflectors that Q consists of take the place of the rows right of the diagonal. */
function reduce(a: Matrix): { tridiagonal: Tridiagonal; taus: Float64Array } {
  const n = a.rows;
  const diagonal = new Float64Array(n);
  const off = new Float64Array(Math.max(0, n - 1));
  const taus = new Float64Array(Math.max(0, n - 1));
  for (let k = 0; k < n - 1; k++) {
    const v = rowOf(a, k).subarray(k + 1);
    taus[k] = reflector(v);
    off[k] = v[0]!;
    v[0] = 1;
    if (taus[k] !== 0) reflectBothSides(a, k + 1, v, taus[k]!);
    v[0] = off[k]!;
  }
  for (let k = 0; k < n; k++) diagonal[k] = a.data[k * n + k]!;
  return { tridiagonal: { diagonal, off }, taus };
}

/** B ← H·B·H for the block B from `start` on, with H = I - tau·v·vᵀ: B - v·wᵀ - w·vᵀ, above the diagonal only. */
function reflectBothSides(a: Matrix, start: number, v: Float64Array, tau: number): void {
  const { columns, data } = a;
  const size = v.length;
  const w = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const row = (start + i) * columns + start;
    const vi = v[i]!;
    let sum = data[row + i]! * vi;
    for (let j = i + 1; j < size; j++) {
      const value = data[row + j]!;
      sum += value * v[j]!;
      w[j]! += value * vi;
    }
    w[i]! += sum;
  }
  for (let i = 0; i < size; i++) w[i]! *= tau;
  addScaled(w, (-tau / 2) * dot(w, v), v);
  for (let i = 0; i < size; i++) {
    const row = (start + i) * columns + start;
    const [vi, wi] = [v[i]!, w[i]!];
    for (let j = i; j < size; j++) data[row + j]! -= vi * w[j]! + wi * v[j]!;
  }
}

/** Largest row sum of magnitudes: no eigenvalue is larger. */
function norm({ diagonal, off }: Tridiagonal): number {
  let most = 0;
  for (let i = 0; i < diagonal.length; i++) {
    const sum = Math.abs(diagonal[i]!) + Math.abs(off[i] ?? 0) + Math.abs(off[i - 1] ?? 0);
    most = Math.max(most, sum);
  }
  return most;
}

function chosenEigenvalues(
  t: Tridiagonal,
  count: number | ((values: Float64Array) => number),
): Float64Array {
  if (typeof count === "number") return largestEigenvalues(t, count);
  const all = largestEigenvalues(t, t.diagonal.length);
  return all.slice(0, count(all));
}

/** By bisection, each to the last bit that the matrix determines. */
function largestEigenvalues(t: Tridiagonal, count: number): Float64Array {
  const n = t.diagonal.length;
  const bound = norm(t);
  const values = new Float64Array(count);
  for (let k = 0; k < count; k++) {
    let [low, high] = [-bound, k === 0 ? bound : values[k - 1]!];
    for (;;) {
      const middle = (low + high) / 2;
      if (middle <= low || middle >= high || high - low <= Number.EPSILON * bound) break;
      // n - k - 1 eigenvalues are smaller than the one that is sought.
      if (countBelow(t, middle) > n - k - 1) high = middle;
      else low = middle;
    }
    values[k] = (low + high) / 2;
  }
  return values;
}

/** Number of eigenvalues below x: of negative pivots of T - x·I (Sylvester's law of inertia). */
function countBelow({ diagonal, off }: Tridiagonal, x: number): number {
  let pivot = 1;
  let count = 0;
  for (let i = 0; i < diagonal.length; i++) {
    const above = i === 0 ? 0 : off[i - 1]! ** 2 / pivot;
    pivot = diagonal[i]! - x - above;
    if (pivot === 0) pivot = -Number.MIN_VALUE * 2 ** 60;
    if (pivot < 0) count++;
  }
  return count;
}

/** Two or three steps suffice from a random start; more are harmless. */
const INVERSE_ITERATIONS = 4;

/** By inverse iteration; each vector is kept orthogonal to those before, which separates equal eigenvalues. */
function eigenvectors(t: Tridiagonal, values: Float64Array): Matrix {
  const n = t.diagonal.length;
  const vectors = zeroMatrix(values.length, n);
  const random = randomGenerator(0, "inverse iteration");
  const step = Number.EPSILON * norm(t);
  let shift = Infinity;
  for (let k = 0; k < values.length; k++) {
    // Equal shifts would give equal vectors.
    shift = Math.min(values[k]!, shift - 10 * step);
    const solve = shiftedSolver(t, shift, step);
    const x = rowOf(vectors, k);
    for (let i = 0; i < n; i++) x[i] = random.uniform() - 0.5;
    for (let iteration = 0; iteration < INVERSE_ITERATIONS; iteration++) {
      solve(x);
      normalize(x);
      // Twice is enough: what the first pass leaves is rounding.
      for (let pass = 0; pass < 2; pass++) {
        for (let j = 0; j < k; j++) addScaled(x, -dot(rowOf(vectors, j), x), rowOf(vectors, j));
        normalize(x);
      }
    }
  }
  return vectors;
}

function normalize(x: Float64Array): void {
  let largest = 0;
  for (const value of x) largest = Math.max(largest, Math.abs(value));
  if (largest === 0) return;
  for (let i = 0; i < x.length; i++) x[i]! /= largest;
  const length = Math.sqrt(dot(x, x));
  for (let i = 0; i < x.length; i++) x[i]! /= length;
}

/** Solves (T - shift·I)·y = x in place, by elimination with row exchanges; a pivot of zero becomes `smallest`. */
function shiftedSolver(
  { diagonal, off }: Tridiagonal,
  shift: number,
  smallest: number,
): (x: Float64Array) => void {
  const n = diagonal.length;
  const pivots = Float64Array.from(diagonal, (value) => value - shift);
  const [first, second] = [off.slice(), new Float64Array(n)]; // the two diagonals above
  const factors = new Float64Array(n);
  const exchanged = new Uint8Array(n);
  for (let i = 0; i < n - 1; i++) {
    const below = off[i]!;
    if (Math.abs(pivots[i]!) >= Math.abs(below)) {
      factors[i] = pivots[i] === 0 ? 0 : below / pivots[i]!;
      pivots[i + 1]! -= factors[i]! * first[i]!;
    } else {
      exchanged[i] = 1;
      factors[i] = pivots[i]! / below;
      const [upper, next] = [first[i]!, pivots[i + 1]!];
      pivots[i] = below;
      first[i] = next;
      pivots[i + 1] = upper - factors[i]! * next;
      if (i + 1 < n - 1) {
        second[i] = first[i + 1]!;
        first[i + 1]! *= -factors[i]!;
      }
    }
  }
  const tiny = smallest === 0 ? Number.EPSILON : smallest;
  for (let i = 0; i < n; i++) if (Math.abs(pivots[i]!) < tiny) pivots[i] = tiny;
  return (x) => {
    for (let i = 0; i < n - 1; i++) {
      if (exchanged[i]) [x[i], x[i + 1]] = [x[i + 1]!, x[i]!];
      x[i + 1]! -= factors[i]! * x[i]!;
    }
    for (let i = n - 1; i >= 0; i--) {
      let value = x[i]!;
      if (i + 1 < n) value -= first[i]! * x[i + 1]!;
      if (i + 2 < n) value -= second[i]! * x[i + 2]!;
      x[i] = value / pivots[i]!;
    }
  };
}

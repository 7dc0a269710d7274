/** @file QR by Householder reflections. Source: Golub and Van Loan, "Matrix Computations", 5.2; signs as in LAPACK's dgeqrf,
 * so that the factors are those of torch.linalg.qr. */
import { addScaled, dot, rowOf, transposed, zeroMatrix, type Matrix } from "./matrix.ts";

export interface ThinQr {
  /** The first columns of Q, as rows: [rank, m]. */
  readonly q: Matrix;
  /** The first rows of R: [rank, n]. */
  readonly r: Matrix;
}

/** The first `rank` columns of Q and rows of R with A = Q·R. A [m, n], rank ≤ min(m, n). */
export function thinQr(a: Matrix, rank = Math.min(a.rows, a.columns)): ThinQr {
  const columns = transposed(a); // Column j of A is row j; reflectors take the place below the diagonal.
  const taus = new Float64Array(rank);
  for (let k = 0; k < rank; k++) {
    const column = rowOf(columns, k).subarray(k);
    taus[k] = reflector(column);
    const [diagonal, v] = [column[0]!, column];
    v[0] = 1;
    for (let j = k + 1; j < a.columns; j++) reflect(rowOf(columns, j).subarray(k), v, taus[k]!);
    v[0] = diagonal;
  }
  const r = zeroMatrix(rank, a.columns);
  for (let k = 0; k < rank; k++) {
    for (let j = k; j < a.columns; j++) r.data[k * a.columns + j] = columns.data[j * a.rows + k]!;
  }
  return { q: firstColumns(columns, taus), r };
}

/** Q = H₀·H₁·… applied to the first unit vectors. */
function firstColumns(columns: Matrix, taus: Float64Array): Matrix {
  const length = columns.columns;
  const q = zeroMatrix(taus.length, length);
  for (let k = taus.length - 1; k >= 0; k--) {
    const v = rowOf(columns, k).slice(k);
    v[0] = 1;
    rowOf(q, k)[k] = 1;
    for (let j = k; j < taus.length; j++) reflect(rowOf(q, j).subarray(k), v, taus[k]!);
  }
  return q;
}

/** Turn x into the reflector that maps x to (beta, 0, …): x[0] becomes beta, the rest v with v[0] = 1 left out.
 * Returns tau, with H = I - tau·v·vᵀ; 0 when nothing is to be reflected. */
export function reflector(x: Float64Array): number {
  const rest = x.subarray(1);
  const squares = dot(rest, rest);
  if (squares === 0) return 0;
  const alpha = x[0]!;
  const beta = -Math.sign(alpha || 1) * Math.sqrt(alpha * alpha + squares);
  const factor = 1 / (alpha - beta);
  for (let i = 0; i < rest.length; i++) rest[i]! *= factor;
  x[0] = beta;
  return (beta - alpha) / beta;
}

/** x ← (I - tau·v·vᵀ)·x */
export function reflect(x: Float64Array, v: Float64Array, tau: number): void {
  if (tau !== 0) addScaled(x, -tau * dot(v, x), v);
}

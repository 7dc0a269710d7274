/** @file Dense matrices in float64 on the host, for decompositions of single weights. What is trained or predicted runs in
 * graphs; this runs once, before or after. Vectors are the rows of a matrix, so that the loops run along memory. */

/** Row-major. */
export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

/** A matrix of zeros. */
export function zeroMatrix(rows: number, columns: number): Matrix {
  return { rows, columns, data: new Float64Array(rows * columns) };
}

/** A matrix with the values of an array, row-major. */
export function matrixOf(rows: number, columns: number, values: ArrayLike<number>): Matrix {
  return { rows, columns, data: Float64Array.from(values) };
}

/** A row of a matrix: a view, not a copy. */
export function rowOf({ columns, data }: Matrix, row: number): Float64Array {
  return data.subarray(row * columns, (row + 1) * columns);
}

/** Aᵀ */
export function transposed(a: Matrix): Matrix {
  const result = zeroMatrix(a.columns, a.rows);
  const block = 32; // Both sides of a block fit the first-level cache.
  for (let top = 0; top < a.rows; top += block) {
    for (let left = 0; left < a.columns; left += block) {
      const [bottom, right] = [Math.min(a.rows, top + block), Math.min(a.columns, left + block)];
      for (let i = top; i < bottom; i++) {
        for (let j = left; j < right; j++) {
          result.data[j * a.rows + i] = a.data[i * a.columns + j]!;
        }
      }
    }
  }
  return result;
}

/** xᵀy */
export function dot(x: Float64Array, y: Float64Array): number {
  // Four sums: one alone would wait for each addition before the next.
  let [a, b, c, d] = [0, 0, 0, 0];
  const whole = x.length & ~3;
  for (let i = 0; i < whole; i += 4) {
    a += x[i]! * y[i]!;
    b += x[i + 1]! * y[i + 1]!;
    c += x[i + 2]! * y[i + 2]!;
    d += x[i + 3]! * y[i + 3]!;
  }
  for (let i = whole; i < x.length; i++) a += x[i]! * y[i]!;
  return a + b + (c + d);
}

/** y ← y + factor·x */
export function addScaled(y: Float64Array, factor: number, x: Float64Array): void {
  for (let i = 0; i < y.length; i++) y[i]! += factor * x[i]!;
}

/** X·Aᵀ: the product of A with every row of X. X [k, n], A [m, n] → [k, m] */
export function timesTransposed(x: Matrix, a: Matrix): Matrix {
  const result = zeroMatrix(x.rows, a.rows);
  for (let i = 0; i < a.rows; i++) {
    const row = rowOf(a, i);
    for (let k = 0; k < x.rows; k++) result.data[k * a.rows + i] = dot(rowOf(x, k), row);
  }
  return result;
}

/** X·A. X [k, m], A [m, n] → [k, n] */
export function times(x: Matrix, a: Matrix): Matrix {
  const result = zeroMatrix(x.rows, a.columns);
  for (let i = 0; i < a.rows; i++) {
    const row = rowOf(a, i);
    for (let k = 0; k < x.rows; k++) addScaled(rowOf(result, k), x.data[k * a.rows + i]!, row);
  }
  return result;
}

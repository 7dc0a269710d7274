/** @file An approximation of a change as the two factors of a LoRA adapter, in PEFT's orientation. */
import { addScaled, dot, rowOf, transposed, zeroMatrix, type Matrix } from "../linalg/matrix.ts";
import type { Svd } from "../linalg/svd.ts";
import type { MatrixChange } from "./changes.ts";

/** ΔW ≈ Lᵀ·R, in numbers that float32 has. */
export interface Halves {
  /** √S·Uᵀ: [r, m] */
  readonly left: Matrix;
  /** √S·Vᵀ: [r, n] */
  readonly right: Matrix;
}

/** U·S·Vᵀ with half of each singular value on either side: factors of one size lose the least to rounding, also in 16 bits,
 * and learn at one speed when the adapter is trained further. */
export function halves({ left, values, right }: Svd): Halves {
  return { left: scaledRows(left, values), right: scaledRows(right, values) };
}

function scaledRows(vectors: Matrix, values: Float64Array): Matrix {
  const result = zeroMatrix(vectors.rows, vectors.columns);
  for (const [k, value] of values.entries()) {
    const row = rowOf(result, k);
    addScaled(row, Math.sqrt(value), rowOf(vectors, k));
    for (let i = 0; i < row.length; i++) row[i] = Math.fround(row[i]!);
  }
  return result;
}

/** A and B of an adapter. */
export interface LoraFactors {
  /** lora_A [r, in], or lora_embedding_A [r, vocabulary]. */
  readonly a: Float32Array;
  /** lora_B [out, r], or lora_embedding_B [dim, r]. */
  readonly b: Float32Array;
}

/** The halves as A and B, to be scaled by 1. A Linear's weight [out, in] has its inputs in columns; Conv1D [in, out] and
 * Embedding [vocabulary, dim] have them in rows. */
export function loraFactors({ left, right }: Halves, layer: MatrixChange["layer"]): LoraFactors {
  const [a, b] = layer === "Linear" ? [right, left] : [left, right];
  return { a: Float32Array.from(a.data), b: Float32Array.from(transposed(b).data) };
}

/** ‖ΔW - Lᵀ·R‖: what is lost, the rounding of the factors included. */
export function residualNorm(change: Matrix, { left, right }: Halves): number {
  const rest = new Float64Array(change.columns);
  let sum = 0;
  for (let i = 0; i < change.rows; i++) {
    rest.set(rowOf(change, i));
    for (let k = 0; k < left.rows; k++) {
      addScaled(rest, -left.data[k * left.columns + i]!, rowOf(right, k));
    }
    sum += dot(rest, rest);
  }
  return Math.sqrt(sum);
}

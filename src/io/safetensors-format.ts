/**
 * @file What a safetensors header can say: data types, the place of a tensor, limits. Shared by safetensors.ts (reading) and
 * safetensors-write.ts. Source: https://github.com/huggingface/safetensors#format
 */

/** Longest header, as in the reference implementation: a guard against reading gigabytes on the word of 8 bytes. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Each stored data type: bits per element, and the array that holds its raw elements (bit patterns for 16-bit floats, bytes
 * where JavaScript has no such type, real and imaginary parts in turn for C64). In the reference implementation's order,
 * which decides the order of tensors in a written file. */
export const STORED_DTYPES = {
  BOOL: { bits: 8, array: Uint8Array },
  F4: { bits: 4, array: Uint8Array },
  F6_E2M3: { bits: 6, array: Uint8Array },
  F6_E3M2: { bits: 6, array: Uint8Array },
  U8: { bits: 8, array: Uint8Array },
  I8: { bits: 8, array: Int8Array },
  F8_E5M2: { bits: 8, array: Uint8Array },
  F8_E4M3: { bits: 8, array: Uint8Array },
  F8_E8M0: { bits: 8, array: Uint8Array },
  F8_E4M3FNUZ: { bits: 8, array: Uint8Array },
  F8_E5M2FNUZ: { bits: 8, array: Uint8Array },
  I16: { bits: 16, array: Int16Array },
  U16: { bits: 16, array: Uint16Array },
  F16: { bits: 16, array: Uint16Array },
  BF16: { bits: 16, array: Uint16Array },
  I32: { bits: 32, array: Int32Array },
  U32: { bits: 32, array: Uint32Array },
  F32: { bits: 32, array: Float32Array },
  C64: { bits: 64, array: Float32Array },
  F64: { bits: 64, array: Float64Array },
  I64: { bits: 64, array: BigInt64Array },
  U64: { bits: 64, array: BigUint64Array },
} as const;

/** Name of a data type in a safetensors header. */
export type StoredDtype = keyof typeof STORED_DTYPES;

/** The raw elements of a tensor: see `STORED_DTYPES`. */
export type StoredArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

/** Where one tensor is stored. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  /** Path of the file. */
  readonly file: string;
  /** Absolute byte offset in the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Number of elements of a shape: the product of its dimensions, 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

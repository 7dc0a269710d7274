/** @file Element types of symbolic tensors, and the JavaScript arrays that hold them. */

export type DType = "float32" | "int32" | "int64" | "bool";

export type TypedArray = Float32Array | Int32Array | BigInt64Array | Uint8Array;

/** Bytes per element. */
export const BYTES: Readonly<Record<DType, number>> = { float32: 4, int32: 4, int64: 8, bool: 1 };

/** ONNX's numbers for element types (onnx.proto, TensorProto.DataType). */
export const ONNX_DTYPE: Readonly<Record<DType, number>> = {
  float32: 1,
  int32: 6,
  int64: 7,
  bool: 9,
};

/** A typed array of `values` as `dtype`; booleans are bytes 0 and 1. */
export function typedArray(dtype: DType, values: readonly number[]): TypedArray {
  switch (dtype) {
    case "float32":
      return Float32Array.from(values);
    case "int32":
      return Int32Array.from(values);
    case "int64":
      return BigInt64Array.from(values, BigInt);
    case "bool":
      return Uint8Array.from(values);
  }
}

/** A zero-filled typed array of `length` elements. */
export function zeros(dtype: DType, length: number): TypedArray {
  switch (dtype) {
    case "float32":
      return new Float32Array(length);
    case "int32":
      return new Int32Array(length);
    case "int64":
      return new BigInt64Array(length);
    case "bool":
      return new Uint8Array(length);
  }
}

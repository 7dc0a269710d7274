/**
 * @file What ONNX Runtime's execution providers can run. A part of a graph that a provider lacks would
 * be computed on the CPU, with a copy there and back: slow, and silent. So every lowering chooses among
 * what its provider runs, and one that finds nothing is an error, not a fallback.
 */
import type { DType } from "../graph/dtype.ts";

export const PROVIDERS = ["cpu", "webgpu", "cuda"] as const;
export type ProviderName = (typeof PROVIDERS)[number];

export interface Provider {
  readonly name: ProviderName;
  /** Whether there is a kernel for an ONNX operator on data of a type. Operators outside ONNX's own
   * domain carry theirs: "com.microsoft.FusedMatMul". */
  runs(operator: string, dtype: DType): boolean;
  /** Whether it pays to lay tensors out for a processor's caches and kernels: cut to pieces (passes/tile.ts), transposed before
   * products (passes/transpose-first.ts). */
  readonly hasCaches: boolean;
  /** Whether one program serves sequences of any length (graph/dynamic.ts); otherwise each length
   * gets its own. */
  readonly dynamicLengths: boolean;
  /** Whether products with few rows gain from weights that are part of the model: ONNX Runtime then
   * packs them once, in a copy of its own, instead of in every run. */
  readonly packsWeights: boolean;
  /** Whether models get an output that spares copies of the others (onnx/model.ts, UNREADABLE). */
  readonly sparesCopies: boolean;
}

const FLOAT = ["float32"] as const;
const NUMBER = ["float32", "int32"] as const;
const ANY = ["float32", "int32", "bool"] as const;

/**
 * Operators of the WebGPU provider that lowerings use, with the types of their data. What is missing
 * matters more: FusedMatMul, LogSoftmax, ArgMax on what Cast would narrow, everything bitwise, and all of
 * int64 except as the result of Cast (as indices for ScatterND); SimplifiedLayerNormalization is there, but
 * its second output, which gradients need, is wrong; Sin and Cos are not accurate (ops/trigonometry.ts). Measured with onnxruntime 1.30, one session for each; the provider's
 * option `enableInt64` does not reach it through onnxruntime-node.
 */
const WEBGPU: Readonly<Record<string, readonly DType[]>> = {
  Add: NUMBER,
  Cast: ANY,
  Concat: NUMBER,
  Div: NUMBER,
  Equal: NUMBER,
  Erf: FLOAT,
  Exp: FLOAT,
  Expand: ANY,
  Gather: ANY,
  GatherElements: FLOAT,
  Gemm: FLOAT,
  Greater: NUMBER,
  GreaterOrEqual: NUMBER,
  Identity: NUMBER,
  LayerNormalization: FLOAT,
  Less: NUMBER,
  Log: FLOAT,
  MatMul: FLOAT,
  Max: NUMBER,
  Min: NUMBER,
  Mul: NUMBER,
  Neg: FLOAT,
  Pad: NUMBER,
  Reciprocal: FLOAT,
  ReduceMax: NUMBER,
  ReduceMean: NUMBER,
  ReduceSum: NUMBER,
  Relu: FLOAT,
  Reshape: ANY,
  ScatterND: NUMBER,
  Sigmoid: FLOAT,
  Slice: FLOAT,
  Softmax: FLOAT,
  Split: NUMBER,
  Sqrt: FLOAT,
  Squeeze: NUMBER,
  Sub: NUMBER,
  Tanh: FLOAT,
  Transpose: NUMBER,
  Unsqueeze: ANY,
  Where: ANY,
  "com.microsoft.FastGelu": FLOAT,
  "com.microsoft.Gelu": FLOAT,
  "com.microsoft.QuickGelu": FLOAT,
};

/** The CPU provider has every operator that lowerings use, and CUDA's documentation lists them all;
 * sessions are created so that ONNX Runtime itself refuses to fall back (runtime/host.ts). */
const everything = (): boolean => true;

const TABLE: Readonly<Record<ProviderName, Provider>> = {
  cpu: {
    name: "cpu",
    runs: everything,
    hasCaches: true,
    dynamicLengths: true,
    packsWeights: true,
    sparesCopies: true,
  },
  webgpu: {
    name: "webgpu",
    runs: (operator, dtype) => WEBGPU[operator]?.includes(dtype) ?? false,
    hasCaches: false,
    dynamicLengths: false,
    packsWeights: false,
    sparesCopies: false,
  },
  cuda: {
    name: "cuda",
    runs: everything,
    hasCaches: false,
    dynamicLengths: false,
    packsWeights: false,
    sparesCopies: false,
  },
};

export function provider(name: ProviderName): Provider {
  return TABLE[name];
}

/** @file "lowrank/ops": functions on symbolic tensors, for one's own models and losses. */

export type { DType, TypedArray } from "../graph/dtype.ts";
export { constant, input, scalar } from "../graph/leaves.ts";
export type { Tensor } from "../graph/node.ts";
export type { Shape } from "../graph/shape.ts";
export { gelu, silu } from "./activations.ts";
export {
  add,
  cast,
  div,
  equal,
  erf,
  exp,
  greater,
  greaterEqual,
  less,
  log,
  maximum,
  minimum,
  mul,
  neg,
  reciprocal,
  relu,
  sigmoid,
  sqrt,
  stopGradient,
  sub,
  tanh,
  where,
  type Operand,
} from "./elementwise.ts";
export {
  binaryCrossEntropySum,
  crossEntropySum,
  IGNORED_LABEL,
  layerNorm,
  linear,
  logSoftmax,
  softmax,
  squaredErrorSum,
} from "./functional.ts";
export { argmax, gather, pick, scatterAddRows, takeRows } from "./indexing.ts";
export { matmul, type MatmulAttrs } from "./matmul.ts";
export { broadcastTo, concat, pad, reshape, slice, split, transpose } from "./movement.ts";
export { dropout, type DropoutOptions } from "./random.ts";
export { max, mean, sum, type ReduceOptions } from "./reduce.ts";
export { rmsNorm } from "./rms-norm.ts";
export { rotate } from "./rotary.ts";
export { cos, sin } from "./trigonometry.ts";

/** @file "lowrank/delta": the change that training made to a model, and what a low rank keeps of it. */

export {
  isProduct,
  openChanges,
  trainedKind,
  type Change,
  type Changes,
  type MatrixChange,
  type OtherChange,
  type TensorChange,
  type TrainedKind,
} from "./changes.ts";
export {
  applyDelta,
  isDeltaDirectory,
  readDelta,
  writeDelta,
  type ChangedTensor,
  type Delta,
  type DeltaConfig,
  type DeltaIdentity,
} from "./format.ts";
export { type DeltaDtype } from "./difference.ts";
export { approximate, type Approximation, type Target } from "./approximate.ts";
export { extractLora, type ExtractOptions, type ExtractReport } from "./extract.ts";
export { resizeLora, type ResizeOptions, type ResizeReport } from "./resize.ts";
export { type RankOptions } from "./rank-options.ts";
export { type MatrixReport } from "./report.ts";
export {
  denseChange,
  energyOf,
  energyOfChange,
  energyWithin,
  rankForEnergy,
  singularValues,
  sizeOfChange,
} from "./spectrum.ts";
export { type Product } from "../lora/host-merge.ts";
export { matrixOf, type Matrix } from "../linalg/matrix.ts";

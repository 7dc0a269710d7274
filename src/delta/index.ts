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
export {
  denseChange,
  energyOf,
  energyWithin,
  rankForEnergy,
  singularValues,
  sizeOfChange,
} from "./spectrum.ts";
export { type Product } from "../lora/host-merge.ts";
export { matrixOf, type Matrix } from "../linalg/matrix.ts";

/** @file The package `lowrank`: training and predicting, and the engine below. Modules are in "lowrank/nn",
 * ops in "lowrank/ops", LoRA in "lowrank/lora", models in "lowrank/models", the training loop's parts in
 * "lowrank/train", data files in "lowrank/data", tokenizers in "lowrank/text". */

export { LowrankError, type ErrorCode } from "./errors.ts";
export { libraryVersion } from "./version.ts";

export {
  Trainer,
  type DataRows,
  type DataSource,
  type ResumeOptions,
  type TrainerOptions,
} from "./train/trainer.ts";
export { Predictor, type DataNotes, type PredictorOptions } from "./train/predict.ts";
export { trainOptionsSchema, type TrainOptions, type TrainOptionsInput } from "./train/options.ts";
export type * from "./train/events.ts";
export type { AnswerCandidate, AnswerPrediction } from "./tasks/question-answering.ts";
export type { LanguagePrediction } from "./tasks/causal-lm.ts";
export type {
  ClassificationPrediction,
  MultiLabelPrediction,
  RegressionPrediction,
} from "./tasks/sequence-classification.ts";
export type { Input, Metrics, Task } from "./tasks/task.ts";
export type { EntityPrediction, PredictedEntity } from "./tasks/token-classification.ts";

export { AutoModel, type FromPretrainedOptions, type PretrainedModel } from "./models/auto.ts";
export { generate, type GenerateOptions } from "./generate/greedy.ts";
export { applyLora } from "./lora/apply.ts";
export { loraConfig, type LoraConfig, type LoraOptions } from "./lora/config.ts";
export { countParameters, freeze } from "./nn/module.ts";

export { grad } from "./autodiff/grad.ts";
export type { DType, TypedArray } from "./graph/dtype.ts";
export type { Graph } from "./graph/graph.ts";
export { constant, input, scalar } from "./graph/leaves.ts";
export type { Tensor } from "./graph/node.ts";
export { printGraph } from "./graph/print.ts";
export type { Shape } from "./graph/shape.ts";
export { compile } from "./runtime/compile.ts";
export { Engine, type Program, type RunResult } from "./runtime/engine.ts";
export type { Device, DeviceChoice, EngineOptions, HostTensor } from "./runtime/protocol.ts";

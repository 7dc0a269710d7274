/** @file "lowrank/nn": modules, parameters and layers to compose models of. */

export * from "./attention.ts";
export * from "./bind.ts";
export * from "./gated-mlp.ts";
export * from "./grouped-query-attention.ts";
export * from "./init.ts";
export * from "./layers.ts";
export * from "./module.ts";
export { Parameter } from "./parameter.ts";
export * from "./rotary.ts";
export * from "./state-dict.ts";
export { openCheckpoint, type Checkpoint } from "../io/checkpoint.ts";
export { readHeader, type SafetensorsHeader, type TensorInfo } from "../io/safetensors.ts";

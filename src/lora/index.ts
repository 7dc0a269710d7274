/** @file "lowrank/lora": LoRA as PEFT has it and as the lecture writes it, and adapters as files. */

export { countParameters, freeze } from "../nn/module.ts";
export { AdapterSet, BASE } from "./adapter-set.ts";
export { applyLora, loraLayers, modulesToSave, replaceModule } from "./apply.ts";
export { COMBINATIONS, type Combination, type CombineOptions } from "./combine.ts";
export type { CombineAdapters } from "./combine-adapters.ts";
export {
  loraConfig,
  loraConfigSchema,
  rankAndScale,
  type LoraConfig,
  type LoraOptions,
} from "./config.ts";
export { lectureToPeft, peftToLecture } from "./convert.ts";
export {
  isLoraLayer,
  LoraEmbedding,
  LoraLinear,
  type LoraLayer,
  type LoraLayerOptions,
} from "./layers.ts";
export { type InitialFactors } from "./initial.ts";
export { LinearWithLoRA, LoRALayer, replaceLinearWithLora } from "./lecture.ts";
export { loraPlusRules, type LoraPlusOptions, type ParameterRule } from "./lora-plus.ts";
export { mergeAdapter, mergedWeights, type Merge, type MergeOptions } from "./merge.ts";
export {
  adapterParameters,
  loadAdapterWeights,
  openAdapter,
  readAdapterConfig,
  saveAdapter,
  unknownKeysWarning,
  type AdapterConfig,
  type SaveAdapterOptions,
} from "./peft-format.ts";
export {
  baseTensors,
  saveMergedModel,
  type SavedModel,
  type SaveMergedOptions,
} from "./save-merged.ts";
export { savePlainAdapter } from "./plain.ts";
export { TrainableTokens } from "./tokens.ts";

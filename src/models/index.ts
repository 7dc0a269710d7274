/** @file "lowrank/models": model families, loading them, and their parts. */

export {
  AutoModel,
  modelFromConfig,
  type FromPretrainedOptions,
  type PretrainedModel,
} from "./auto.ts";
export { bert, BertForSequenceClassification, BertModel, type BertConfig } from "./bert.ts";
export { distilbert, DistilBertModel, type DistilBertConfig } from "./distilbert.ts";
export type { Model, ModelFamily, ModelInputs, ModelLimits, TaskType } from "./family.ts";
export { GPT_CONFIG_124M, GPTModel, loadGpt2Weights, type GPTConfig } from "./gpt-model.ts";
export { gpt2, GPT2Model, type GPT2Config } from "./gpt2.ts";
export * from "./heads.ts";
export { modelInputs, type InputOptions, type InputShape } from "./inputs.ts";
export { modernbert, ModernBertModel, type ModernBertConfig } from "./modernbert.ts";
export { firstToken, lastToken, meanOfTokens } from "./pooling.ts";
export { roberta, RobertaModel, xlmRoberta, type RobertaConfig } from "./roberta.ts";

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
export { Decoder, PreNormLayer, SandwichNormLayer } from "./decoder.ts";
export { decoderFamily, type DecoderFamily, type LayerBuilder } from "./decoder-family.ts";
export { gemma2, type Gemma2Config } from "./gemma2.ts";
export { gemma3Text, type Gemma3TextConfig } from "./gemma3_text.ts";
export { gpt2, GPT2Model, type GPT2Config } from "./gpt2.ts";
export { gptNeoX, GPTNeoXModel, type GPTNeoXConfig } from "./gpt_neox.ts";
export * from "./heads.ts";
export { modelInputs, type InputOptions, type InputShape } from "./inputs.ts";
export { llama, type LlamaConfig } from "./llama.ts";
export { mistral, type MistralConfig } from "./mistral.ts";
export { modernbert, ModernBertModel, type ModernBertConfig } from "./modernbert.ts";
export { firstToken, lastToken, meanOfTokens } from "./pooling.ts";
export { qwen2, type Qwen2Config } from "./qwen2.ts";
export { qwen3, type Qwen3Config } from "./qwen3.ts";
export { roberta, RobertaModel, xlmRoberta, type RobertaConfig } from "./roberta.ts";

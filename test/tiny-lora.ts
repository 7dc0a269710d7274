/** @file Tiny models with adapters for the tests of LoRA. */
import { applyLora } from "../src/lora/apply.ts";
import { loraConfig, type LoraOptions } from "../src/lora/config.ts";
import { modelFromConfig } from "../src/models/auto.ts";

export const CONFIGS = {
  gpt2: { model_type: "gpt2", vocab_size: 30, n_positions: 8, n_embd: 8, n_layer: 2, n_head: 2 },
  bert: {
    model_type: "bert",
    vocab_size: 30,
    hidden_size: 8,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 16,
    max_position_embeddings: 8,
  },
} as const;
export type Family = keyof typeof CONFIGS;

/** A model with random values. An adapted one has the same: they depend on seed and original path. */
export function baseModel(family: Family) {
  return modelFromConfig(CONFIGS[family]);
}

export function adaptedModel(family: Family, options: LoraOptions) {
  const built = baseModel(family);
  const lora = loraConfig({ taskType: "SEQ_CLS", ...options });
  return { ...built, lora, layers: applyLora(built.model, lora, built.family) };
}

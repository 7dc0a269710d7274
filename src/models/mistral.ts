/** @file Mistral: LLaMA with a sliding window in every layer, where the configuration has one.
 * Source: https://arxiv.org/abs/2310.06825; module names as in transformers' modeling_mistral. */
import { z } from "zod";
import { decoderSchema, PreNormLayer } from "./decoder.ts";
import { decoderFamily } from "./decoder-family.ts";
import { activationName, count } from "./family.ts";
import { oneRope, ropeKeys } from "./rope.ts";

const configSchema = decoderSchema({
  vocab_size: 32_000,
  hidden_size: 4096,
  intermediate_size: 14_336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  max_position_embeddings: 131_072,
}).extend({
  num_key_value_heads: count.nullish().default(8),
  ...ropeKeys,
  hidden_act: activationName.default("silu"),
  sliding_window: count.nullish().default(4096),
  /** All layers are alike: other models that call themselves "mistral" are refused. */
  layer_types: z.undefined("layers of different kinds are not implemented for mistral").optional(),
});

export type MistralConfig = z.infer<typeof configSchema>;

export const mistral = decoderFamily<MistralConfig>({
  modelType: "mistral",
  configSchema,
  className: "Mistral",
  spanStack: "model",
  rope: oneRope,
  kind: (config) => (config.sliding_window ? "sliding_attention" : "full_attention"),
  window: (config) => config.sliding_window,
  layer: ({ hidden_act: activation }, { attention, mlp, norm }) =>
    new PreNormLayer({ attention: attention(), mlp: mlp({ activation }), norm }),
});

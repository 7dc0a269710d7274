/** @file Qwen 3: Qwen 2 without biases, with RMS norms of each head's queries and keys.
 * Source: https://arxiv.org/abs/2505.09388; module names as in transformers' modeling_qwen3. */
import { z } from "zod";
import { decoderSchema, PreNormLayer } from "./decoder.ts";
import { decoderFamily } from "./decoder-family.ts";
import { activationName, count } from "./family.ts";
import { qwenLayerKind, qwenWindow, qwenWindowKeys } from "./qwen2.ts";
import { oneRope, ropeKeys } from "./rope.ts";

const configSchema = decoderSchema({
  vocab_size: 151_936,
  hidden_size: 4096,
  intermediate_size: 22_016,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  max_position_embeddings: 32_768,
}).extend({
  head_dim: count.default(128),
  ...ropeKeys,
  hidden_act: activationName.default("silu"),
  attention_bias: z.boolean().default(false),
  ...qwenWindowKeys,
});

export type Qwen3Config = z.infer<typeof configSchema>;

export const qwen3 = decoderFamily<Qwen3Config>({
  modelType: "qwen3",
  configSchema,
  className: "Qwen3",
  rope: oneRope,
  kind: qwenLayerKind,
  window: qwenWindow,
  layer: (config, { attention, mlp, norm }) =>
    new PreNormLayer({
      attention: attention({
        bias: config.attention_bias,
        outputBias: config.attention_bias,
        headNorm: () => norm(config.head_dim),
      }),
      mlp: mlp({ activation: config.hidden_act }),
      norm,
    }),
});

/** @file LLaMA 1 to 3: RMS norms before each half of a layer, rotary positions, a gated MLP with SiLU, keys
 * and values shared by groups of heads. Sources: https://arxiv.org/abs/2302.13971,
 * https://arxiv.org/abs/2407.21783; module names as in transformers' modeling_llama. */
import { z } from "zod";
import { decoderSchema, PreNormLayer } from "./decoder.ts";
import { decoderFamily } from "./decoder-family.ts";
import { activationName } from "./family.ts";
import { oneRope, ropeKeys } from "./rope.ts";

const configSchema = decoderSchema({
  vocab_size: 32_000,
  hidden_size: 4096,
  intermediate_size: 11_008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  max_position_embeddings: 2048,
}).extend({
  ...ropeKeys,
  hidden_act: activationName.default("silu"),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
});

export type LlamaConfig = z.infer<typeof configSchema>;

export const llama = decoderFamily<LlamaConfig>({
  modelType: "llama",
  configSchema,
  className: "Llama",
  rope: oneRope,
  layer: ({ hidden_act: activation, attention_bias, mlp_bias }, { attention, mlp, norm }) =>
    new PreNormLayer({
      attention: attention({ bias: attention_bias, outputBias: attention_bias }),
      mlp: mlp({ activation, bias: mlp_bias }),
      norm,
    }),
});

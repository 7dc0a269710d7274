/** @file Gemma 2: LLaMA with norms before and after each half of a layer, whose weights are counted from 1,
 * sliding windows in every other layer, soft limits of scores and logits, GELU in the gate, and embeddings
 * scaled by √C. Source: https://arxiv.org/abs/2408.00118; module names as in transformers'
 * modeling_gemma2. */
import { z } from "zod";
import { decoderSchema, SandwichNormLayer } from "./decoder.ts";
import { decoderFamily } from "./decoder-family.ts";
import { activationName, count, LAYER_KINDS } from "./family.ts";
import { oneRope, ropeKeys } from "./rope.ts";

const cap = z.number().positive().nullish();

const configSchema = decoderSchema({
  vocab_size: 256_000,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  max_position_embeddings: 8192,
}).extend({
  ...ropeKeys,
  pad_token_id: z.number().int().nullish().default(0),
  num_key_value_heads: count.nullish().default(4),
  head_dim: count.default(256),
  hidden_activation: activationName.default("gelu_pytorch_tanh"),
  attention_bias: z.boolean().default(false),
  /** The scores are divided by its square root. */
  query_pre_attn_scalar: z.number().positive().default(256),
  attn_logit_softcapping: cap.default(50),
  final_logit_softcapping: cap.default(30),
  sliding_window: count.nullish().default(4096),
  layer_types: z.array(z.enum(LAYER_KINDS)).nullish(),
  use_bidirectional_attention: z.literal(false).nullish(),
  tie_word_embeddings: z.boolean().default(true),
});

export type Gemma2Config = z.infer<typeof configSchema>;

export const gemma2 = decoderFamily<Gemma2Config>({
  modelType: "gemma2",
  configSchema,
  className: "Gemma2",
  classNames: {
    CAUSAL_LM: "Gemma2ForCausalLM",
    SEQ_CLS: "Gemma2ForSequenceClassification",
    TOKEN_CLS: "Gemma2ForTokenClassification",
  },
  rope: oneRope,
  kind: ({ layer_types: kinds }, layer) =>
    kinds?.[layer] ?? (layer % 2 === 0 ? "sliding_attention" : "full_attention"),
  window: (config) => config.sliding_window,
  normOffset: 1,
  embeddingScale: (config) => Math.sqrt(config.hidden_size),
  logitCap: (config) => config.final_logit_softcapping,
  layer: (config, { attention, mlp, norm }) =>
    new SandwichNormLayer({
      attention: attention({
        bias: config.attention_bias,
        outputBias: config.attention_bias,
        scale: 1 / Math.sqrt(config.query_pre_attn_scalar),
        softCap: config.attn_logit_softcapping ?? undefined,
      }),
      mlp: mlp({ activation: config.hidden_activation }),
      norm,
    }),
});

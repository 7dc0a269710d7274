/** @file Gemma 3's language model: Gemma 2 with norms of each head's queries and keys in place of the soft
 * limits, and sliding windows in all but every sixth layer, with a rotation of their own.
 * Source: https://arxiv.org/abs/2503.19786; module names as in transformers' modeling_gemma3. */
import { z } from "zod";
import { decoderSchema, SandwichNormLayer } from "./decoder.ts";
import { decoderFamily } from "./decoder-family.ts";
import { activationName, count, LAYER_KINDS } from "./family.ts";
import { ropeByKindSchema, ropeEntry, ropeOf } from "./rope.ts";

const configSchema = decoderSchema({
  vocab_size: 262_208,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  max_position_embeddings: 131_072,
}).extend({
  pad_token_id: z.number().int().nullish().default(0),
  num_key_value_heads: count.nullish().default(4),
  head_dim: count.default(256),
  hidden_activation: activationName.default("gelu_pytorch_tanh"),
  attention_bias: z.boolean().default(false),
  /** The scores are divided by its square root. */
  query_pre_attn_scalar: z.number().positive().default(256),
  /** transformers' Gemma 3 reads this key and does nothing with it. */
  attn_logit_softcapping: z.null().optional(),
  final_logit_softcapping: z.number().positive().nullish(),
  sliding_window: count.nullish().default(4096),
  layer_types: z.array(z.enum(LAYER_KINDS)).nullish(),
  /** Every so many layers one has full attention; with an underscore in transformers 5. */
  sliding_window_pattern: count.optional(),
  _sliding_window_pattern: count.default(6),
  use_bidirectional_attention: z.literal(false).nullish(),
  /** Of layers with full attention. */
  rope_theta: z.number().positive().default(1_000_000),
  rope_scaling: ropeEntry().nullish(),
  /** Of sliding layers. */
  rope_local_base_freq: z.number().positive().default(10_000),
  rope_parameters: ropeByKindSchema.nullish(),
  tie_word_embeddings: z.boolean().default(true),
});

export type Gemma3TextConfig = z.infer<typeof configSchema>;

export const gemma3Text = decoderFamily<Gemma3TextConfig>({
  modelType: "gemma3_text",
  configSchema,
  className: "Gemma3",
  stackName: "Gemma3TextModel",
  classNames: {
    CAUSAL_LM: "Gemma3ForCausalLM",
    SEQ_CLS: "Gemma3TextForSequenceClassification",
  },
  rope: (config, kind) => {
    const { rope_parameters: entries, max_position_embeddings: length } = config;
    if (kind === "sliding_attention")
      return ropeOf(entries?.sliding_attention, { theta: config.rope_local_base_freq, length });
    const entry = config.rope_scaling ?? entries?.full_attention;
    return ropeOf(entry, { theta: config.rope_theta, length });
  },
  kind: (config, layer) => {
    const { sliding_window_pattern: older, _sliding_window_pattern: newer } = config;
    const every = older ?? newer;
    const isFull = (layer + 1) % every === 0;
    return config.layer_types?.[layer] ?? (isFull ? "full_attention" : "sliding_attention");
  },
  window: (config) => config.sliding_window,
  normOffset: 1,
  embeddingScale: (config) => Math.sqrt(config.hidden_size),
  logitCap: (config) => config.final_logit_softcapping,
  layer: (config, { attention, mlp, norm }) =>
    new SandwichNormLayer({
      attention: attention({
        bias: config.attention_bias,
        outputBias: config.attention_bias,
        headNorm: () => norm(config.head_dim),
        scale: 1 / Math.sqrt(config.query_pre_attn_scalar),
      }),
      mlp: mlp({ activation: config.hidden_activation }),
      norm,
    }),
});

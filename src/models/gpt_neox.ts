/** @file GPT-NeoX and Pythia: attention and MLP side by side on the same input, rotary positions on a part
 * of each head, queries, keys and values from one projection. Source: https://arxiv.org/abs/2204.06745;
 * module names as in transformers' modeling_gpt_neox. */
import { z } from "zod";
import type { Tensor } from "../graph/node.ts";
import { mergeHeads, scaledDotProductAttention } from "../nn/attention.ts";
import type { Place } from "../nn/grouped-query-attention.ts";
import { causalAttentionBias, withEarlier } from "../nn/key-value-cache.ts";
import { activation, Dropout, dropoutIn, Embedding, LayerNorm, Linear } from "../nn/layers.ts";
import { Module, ModuleList, type Layer } from "../nn/module.ts";
import { applyRotation, RotaryEmbedding, ropeFrequencies } from "../nn/rotary.ts";
import { add } from "../ops/elementwise.ts";
import { reshape, split, transpose } from "../ops/movement.ts";
import {
  activationName,
  baseConfigSchema,
  count,
  layerCount,
  numLabels,
  type ModelFamily,
  type ModelInputs,
} from "./family.ts";
import {
  languageModel,
  lastTokenClassifier,
  spanClassifier,
  tokenClassifier,
  type Bare,
} from "./heads.ts";
import { positionsOf } from "./positions.ts";
import { ropeEntry, ropeOf } from "./rope.ts";

const share = z.number().positive().max(1);
const rope = ropeEntry(share.optional()).nullish();

const keys = baseConfigSchema.extend({
  vocab_size: count.default(50_432),
  hidden_size: count.default(6144),
  num_hidden_layers: layerCount.default(44),
  num_attention_heads: count.default(64),
  intermediate_size: count.default(24_576),
  hidden_act: activationName.default("gelu"),
  attention_dropout: z.number().default(0),
  hidden_dropout: z.number().default(0),
  classifier_dropout: z.number().default(0.1),
  max_position_embeddings: count.default(2048),
  layer_norm_eps: z.number().default(1e-5),
  attention_bias: z.boolean().default(true),
  use_parallel_residual: z.boolean().default(true),
  rotary_emb_base: z.number().positive().default(10_000),
  /** The share of each head's features that is rotated. */
  rotary_pct: share.default(0.25),
  rope_scaling: rope,
  rope_parameters: rope,
  tie_word_embeddings: z.boolean().default(false),
});

export type GPTNeoXConfig = z.infer<typeof keys>;

/** R: how many features of each head are rotated, the first ones. */
function rotatedWidth(config: GPTNeoXConfig): number {
  const entry = config.rope_scaling ?? config.rope_parameters;
  const rotated = entry?.partial_rotary_factor ?? config.rotary_pct;
  return Math.floor((config.hidden_size / config.num_attention_heads) * rotated);
}

/** The angles of the rotated features. */
function frequencies(config: GPTNeoXConfig): Float32Array {
  const entry = config.rope_scaling ?? config.rope_parameters;
  const defaults = { theta: config.rotary_emb_base, length: config.max_position_embeddings };
  return ropeFrequencies(rotatedWidth(config), ropeOf(entry, defaults));
}

const configSchema = keys.superRefine((config, context) => {
  const { hidden_size: width, num_attention_heads: heads } = config;
  const issue = (key: string, message: string): void =>
    context.addIssue({ code: "custom", path: [key], message });
  if (width % heads !== 0)
    issue("num_attention_heads", `expected a divisor of the width ${width}, got ${heads}`);
  else if (rotatedWidth(config) % 2 !== 0)
    issue(
      "rotary_pct",
      `expected a share that makes pairs of the ${width / heads} features of a head, got ${rotatedWidth(config)} of them`,
    );
});

class GPTNeoXAttention extends Module {
  readonly #heads: number;
  readonly #dropout: number;
  query_key_value: Layer;
  dense: Layer;

  constructor({ hidden_size: width, attention_bias: bias, ...config }: GPTNeoXConfig) {
    super();
    this.#heads = config.num_attention_heads;
    this.#dropout = config.attention_dropout;
    this.query_key_value = new Linear(width, 3 * width, { bias });
    this.dense = new Linear(width, width, { bias });
  }

  /** x: [B, T, C] → [B, T, C] */
  forward(x: Tensor, { bias, rotation, cache }: Place): Tensor {
    const [batch, length, width] = x.shape as [number, number, number];
    const heads = this.#heads;
    // A head's query, key and value lie side by side: [B, T, H, 3, D] → [3, B, H, T, D].
    const fused = reshape(this.query_key_value.forward(x), [
      batch,
      length,
      heads,
      3,
      width / heads,
    ]);
    const [q, k, v] = split(transpose(fused, [3, 0, 2, 1, 4]), 3, 0).map((part) =>
      reshape(part, part.shape.slice(1)),
    ) as [Tensor, Tensor, Tensor];
    const dropout = { forward: (p: Tensor) => dropoutIn(this, p, this.#dropout) };
    const [query, key] = [applyRotation(q, rotation), applyRotation(k, rotation)];
    const [keys, values] = withEarlier(cache, key, v);
    return this.dense.forward(
      mergeHeads(scaledDotProductAttention(query, keys, values, { bias, dropout })),
    );
  }
}

class GPTNeoXMLP extends Module {
  dense_h_to_4h: Layer;
  dense_4h_to_h: Layer;
  act: Layer;

  constructor({ hidden_size: width, intermediate_size: inner, hidden_act: name }: GPTNeoXConfig) {
    super();
    this.dense_h_to_4h = new Linear(width, inner);
    this.dense_4h_to_h = new Linear(inner, width);
    this.act = activation(name);
  }

  forward(x: Tensor): Tensor {
    return this.dense_4h_to_h.forward(this.act.forward(this.dense_h_to_4h.forward(x)));
  }
}

class GPTNeoXLayer extends Module {
  readonly #isParallel: boolean;
  input_layernorm: LayerNorm;
  post_attention_layernorm: LayerNorm;
  post_attention_dropout: Dropout;
  post_mlp_dropout: Dropout;
  attention: GPTNeoXAttention;
  mlp: GPTNeoXMLP;

  constructor(config: GPTNeoXConfig) {
    super();
    this.#isParallel = config.use_parallel_residual;
    this.input_layernorm = new LayerNorm(config.hidden_size, config.layer_norm_eps);
    this.post_attention_layernorm = new LayerNorm(config.hidden_size, config.layer_norm_eps);
    this.post_attention_dropout = new Dropout(config.hidden_dropout);
    this.post_mlp_dropout = new Dropout(config.hidden_dropout);
    this.attention = new GPTNeoXAttention(config);
    this.mlp = new GPTNeoXMLP(config);
  }

  /** `x + attention(norm(x)) + mlp(norm'(x))`, or one after the other. */
  forward(x: Tensor, place: Place): Tensor {
    const attended = add(
      x,
      this.post_attention_dropout.forward(
        this.attention.forward(this.input_layernorm.forward(x), place),
      ),
    );
    const source = this.#isParallel ? x : attended;
    const fed = this.mlp.forward(this.post_attention_layernorm.forward(source));
    return add(attended, this.post_mlp_dropout.forward(fed));
  }
}

export class GPTNeoXModel extends Module {
  embed_in: Embedding;
  emb_dropout: Dropout;
  layers: ModuleList<GPTNeoXLayer>;
  final_layer_norm: LayerNorm;
  rotary_emb: RotaryEmbedding<"full_attention">;

  constructor(config: GPTNeoXConfig) {
    super();
    this.embed_in = new Embedding(config.vocab_size, config.hidden_size);
    this.emb_dropout = new Dropout(config.hidden_dropout);
    this.layers = new ModuleList(
      Array.from({ length: config.num_hidden_layers }, () => new GPTNeoXLayer(config)),
    );
    this.final_layer_norm = new LayerNorm(config.hidden_size, config.layer_norm_eps);
    this.rotary_emb = new RotaryEmbedding({ full_attention: frequencies(config) }).printedAs(
      "GPTNeoXRotaryEmbedding",
    );
  }

  /** → [B, T, C] */
  forward(inputs: ModelInputs): Tensor {
    const place: Place = {
      bias: causalAttentionBias(inputs),
      rotation: this.rotary_emb.forward(positionsOf(inputs), "full_attention"),
      cache: inputs.cache,
    };
    let x = this.emb_dropout.forward(this.embed_in.forward(inputs.inputIds));
    for (const layer of this.layers) x = layer.forward(x, place);
    return this.final_layer_norm.forward(x);
  }
}

const bareModel = (config: GPTNeoXConfig): Bare & { model: GPTNeoXModel } => ({
  name: "gpt_neox",
  model: new GPTNeoXModel(config),
  width: config.hidden_size,
});

export const gptNeoX: ModelFamily<GPTNeoXConfig> = {
  modelType: "gpt_neox",
  configSchema,
  models: {
    CAUSAL_LM: (config) => {
      const bare = bareModel(config);
      const tied = config.tie_word_embeddings ? bare.model.embed_in.weight : undefined;
      return languageModel("GPTNeoXForCausalLM", bare, { vocabSize: config.vocab_size, tied });
    },
    SEQ_CLS: (config) =>
      lastTokenClassifier("GPTNeoXForSequenceClassification", bareModel(config), {
        labels: numLabels(config),
        padTokenId: config.pad_token_id ?? undefined,
      }),
    TOKEN_CLS: (config) =>
      tokenClassifier("GPTNeoXForTokenClassification", bareModel(config), {
        labels: numLabels(config),
        dropout: config.classifier_dropout,
      }),
    QUESTION_ANS: (config) => spanClassifier("GPTNeoXForQuestionAnswering", bareModel(config)),
  },
  basePrefixes: ["gpt_neox"],
  headModules: ["lm_head", "score", "classifier", "qa_outputs"],
  // Checkpoints keep the output head under its older name.
  renameStored: (name) => name.replace(/^embed_out\./, "lm_head."),
  loraTargets: ["query_key_value"],
  dropoutKeys: ["attention_dropout", "hidden_dropout", "classifier_dropout"],
  limits: (config) => ({
    maxLength: config.max_position_embeddings,
    vocabSize: config.vocab_size,
    padTokenId: config.pad_token_id ?? 0,
  }),
};

/** @file GPT-2. Source: "Language Models are Unsupervised Multitask Learners" (Radford et al., 2019);
 * module names as in transformers' modeling_gpt2, which are the keys of its checkpoints. */
import { z } from "zod";
import type { Tensor } from "../graph/node.ts";
import { mergeHeads, scaledDotProductAttention, splitHeads } from "../nn/attention.ts";
import type { Place } from "../nn/grouped-query-attention.ts";
import { causalAttentionBias, withEarlier } from "../nn/key-value-cache.ts";
import { activation, Conv1D, Dropout, Embedding, LayerNorm } from "../nn/layers.ts";
import { Module, ModuleList, type Layer } from "../nn/module.ts";
import { add } from "../ops/elementwise.ts";
import { split } from "../ops/movement.ts";
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

const configSchema = baseConfigSchema.extend({
  vocab_size: count.default(50257),
  n_positions: count.default(1024),
  n_embd: count.default(768),
  n_layer: layerCount.default(12),
  n_head: count.default(12),
  n_inner: count.nullish(),
  activation_function: activationName.default("gelu_new"),
  layer_norm_epsilon: z.number().default(1e-5),
  embd_pdrop: z.number().default(0.1),
  attn_pdrop: z.number().default(0.1),
  resid_pdrop: z.number().default(0.1),
  scale_attn_weights: z.boolean().default(true),
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  classifier_dropout: z.number().nullish(),
  hidden_dropout: z.number().nullish(),
  tie_word_embeddings: z.boolean().default(true),
  add_cross_attention: z.literal(false).default(false),
});

export type GPT2Config = z.infer<typeof configSchema>;

/** What a layer's tokens look at. */
type GPT2Place = Pick<Place, "bias" | "cache">;

class GPT2Attention extends Module {
  readonly #heads: number;
  readonly #scale: number;
  c_attn: Layer;
  c_proj: Layer;
  attn_dropout: Dropout;
  resid_dropout: Dropout;

  constructor(config: GPT2Config, layer: number) {
    super();
    const width = config.n_embd;
    this.#heads = config.n_head;
    this.#scale =
      (config.scale_attn_weights ? 1 / Math.sqrt(width / config.n_head) : 1) /
      (config.scale_attn_by_inverse_layer_idx ? layer + 1 : 1);
    this.c_attn = new Conv1D(3 * width, width);
    this.c_proj = new Conv1D(width, width);
    this.attn_dropout = new Dropout(config.attn_pdrop);
    this.resid_dropout = new Dropout(config.resid_pdrop);
  }

  /** x: [B, T, C] → [B, T, C] */
  forward(x: Tensor, { bias, cache }: GPT2Place): Tensor {
    const [q, k, v] = split(this.c_attn.forward(x), 3, -1).map((part) =>
      splitHeads(part, this.#heads),
    ) as [Tensor, Tensor, Tensor]; // each [B, H, T, D]
    const options = { bias, scale: this.#scale, dropout: this.attn_dropout };
    const attended = scaledDotProductAttention(q, ...withEarlier(cache, k, v), options);
    return this.resid_dropout.forward(this.c_proj.forward(mergeHeads(attended)));
  }
}

class GPT2MLP extends Module {
  c_fc: Layer;
  c_proj: Layer;
  act: Layer;
  dropout: Dropout;

  constructor(config: GPT2Config) {
    super();
    const inner = config.n_inner ?? 4 * config.n_embd;
    this.c_fc = new Conv1D(inner, config.n_embd);
    this.c_proj = new Conv1D(config.n_embd, inner);
    this.act = activation(config.activation_function);
    this.dropout = new Dropout(config.resid_pdrop);
  }

  forward(x: Tensor): Tensor {
    return this.dropout.forward(this.c_proj.forward(this.act.forward(this.c_fc.forward(x))));
  }
}

class GPT2Block extends Module {
  ln_1: LayerNorm;
  attn: GPT2Attention;
  ln_2: LayerNorm;
  mlp: GPT2MLP;

  constructor(config: GPT2Config, layer: number) {
    super();
    this.ln_1 = new LayerNorm(config.n_embd, config.layer_norm_epsilon);
    this.attn = new GPT2Attention(config, layer);
    this.ln_2 = new LayerNorm(config.n_embd, config.layer_norm_epsilon);
    this.mlp = new GPT2MLP(config);
  }

  forward(x: Tensor, place: GPT2Place): Tensor {
    const attended = add(x, this.attn.forward(this.ln_1.forward(x), place));
    return add(attended, this.mlp.forward(this.ln_2.forward(attended)));
  }
}

export class GPT2Model extends Module {
  wte: Embedding;
  wpe: Embedding;
  drop: Dropout;
  h: ModuleList<GPT2Block>;
  ln_f: LayerNorm;

  constructor(config: GPT2Config) {
    super();
    this.wte = new Embedding(config.vocab_size, config.n_embd);
    this.wpe = new Embedding(config.n_positions, config.n_embd);
    this.drop = new Dropout(config.embd_pdrop);
    this.h = new ModuleList(
      Array.from({ length: config.n_layer }, (_, layer) => new GPT2Block(config, layer)),
    );
    this.ln_f = new LayerNorm(config.n_embd, config.layer_norm_epsilon);
  }

  /** → [B, T, C] */
  forward(inputs: ModelInputs): Tensor {
    const place = this.wpe.forward(positionsOf(inputs));
    let x = this.drop.forward(add(this.wte.forward(inputs.inputIds), place));
    const sight = { bias: causalAttentionBias(inputs), cache: inputs.cache };
    for (const block of this.h) x = block.forward(x, sight);
    return this.ln_f.forward(x);
  }
}

const bareModel = (config: GPT2Config): Bare & { model: GPT2Model } => ({
  name: "transformer",
  model: new GPT2Model(config),
  width: config.n_embd,
});

export const gpt2: ModelFamily<GPT2Config> = {
  modelType: "gpt2",
  configSchema,
  models: {
    CAUSAL_LM: (config) => {
      const bare = bareModel(config);
      const tied = config.tie_word_embeddings ? bare.model.wte.weight : undefined;
      return languageModel("GPT2LMHeadModel", bare, { vocabSize: config.vocab_size, tied });
    },
    SEQ_CLS: (config) =>
      lastTokenClassifier("GPT2ForSequenceClassification", bareModel(config), {
        labels: numLabels(config),
        padTokenId: config.pad_token_id ?? undefined,
      }),
    TOKEN_CLS: (config) =>
      tokenClassifier("GPT2ForTokenClassification", bareModel(config), {
        labels: numLabels(config),
        dropout: config.classifier_dropout ?? config.hidden_dropout ?? 0.1,
      }),
    QUESTION_ANS: (config) => spanClassifier("GPT2ForQuestionAnswering", bareModel(config)),
  },
  basePrefixes: ["transformer"],
  headModules: ["lm_head", "score", "classifier", "qa_outputs"],
  loraTargets: ["c_attn"],
  dropoutKeys: ["embd_pdrop", "attn_pdrop", "resid_pdrop", "classifier_dropout"],
  limits: (config) => ({
    maxLength: config.n_positions,
    vocabSize: config.vocab_size,
    padTokenId: config.pad_token_id ?? 0,
  }),
};

/** @file ModernBERT: an encoder with rotary positions, gated layers and, in most layers, attention to
 * neighbours only. Source: https://arxiv.org/abs/2412.13663; module names as in transformers'
 * modeling_modernbert. */
import { z } from "zod";
import type { Tensor } from "../graph/node.ts";
import {
  localPaddingBias,
  mergeHeads,
  paddingBias,
  scaledDotProductAttention,
  splitHeads,
} from "../nn/attention.ts";
import {
  activation,
  Dropout,
  dropoutIn,
  Embedding,
  Identity,
  LayerNorm,
  Linear,
} from "../nn/layers.ts";
import { Module, ModuleList, type Layer } from "../nn/module.ts";
import { applyRotation, RotaryEmbedding, ropeFrequencies, type Rotation } from "../nn/rotary.ts";
import { add, mul } from "../ops/elementwise.ts";
import { split } from "../ops/movement.ts";
import {
  activationName,
  baseConfigSchema,
  count,
  LAYER_KINDS,
  layerCount,
  numLabels,
  type LayerKind,
  type Model,
  type ModelFamily,
  type ModelInputs,
} from "./family.ts";
import { hiddenStates, ModelWithHead } from "./heads.ts";
import { firstToken, meanOfTokens } from "./pooling.ts";
import { positionsOf } from "./positions.ts";

const ropeSchema = z.strictObject({
  rope_type: z.literal("default").default("default"),
  rope_theta: z.number().positive().optional(),
});

const configSchema = baseConfigSchema
  .extend({
    vocab_size: count.default(50368),
    hidden_size: count.default(768),
    intermediate_size: count.default(1152),
    num_hidden_layers: layerCount.default(22),
    num_attention_heads: count.default(12),
    hidden_activation: activationName.default("gelu"),
    max_position_embeddings: count.default(8192),
    norm_eps: z.number().default(1e-5),
    norm_bias: z.boolean().default(false),
    attention_bias: z.boolean().default(false),
    mlp_bias: z.boolean().default(false),
    classifier_bias: z.boolean().default(false),
    attention_dropout: z.number().default(0),
    embedding_dropout: z.number().default(0),
    mlp_dropout: z.number().default(0),
    classifier_dropout: z.number().default(0),
    classifier_activation: activationName.default("gelu"),
    classifier_pooling: z.enum(["cls", "mean"]).default("cls"),
    pad_token_id: z.number().int().nullish().default(50283),
    /** Tokens that a local layer's window spans; a token sees half of them on each side. */
    local_attention: count.default(128),
    global_attn_every_n_layers: count.default(3),
    layer_types: z.array(z.enum(LAYER_KINDS)).nullish(),
    global_rope_theta: z.number().positive().default(160_000),
    local_rope_theta: z.number().positive().nullable().default(10_000),
    rope_parameters: z
      .strictObject({
        full_attention: ropeSchema.nullish(),
        sliding_attention: ropeSchema.nullish(),
      })
      .nullish(),
    rope_scaling: z.null().optional(),
  })
  .superRefine(({ layer_types: kinds, num_hidden_layers: layers }, context) => {
    if (!kinds || kinds.length === layers) return;
    const message = `expected ${layers} entries, got ${kinds.length}`;
    context.addIssue({ code: "custom", path: ["layer_types"], message });
  });

export type ModernBertConfig = z.infer<typeof configSchema>;

/** Every n-th layer attends to everything, from the first on, unless `layer_types` says otherwise. */
function attentionKind(config: ModernBertConfig, layer: number): LayerKind {
  const { layer_types: kinds, global_attn_every_n_layers: every } = config;
  return kinds?.[layer] ?? (layer % every === 0 ? "full_attention" : "sliding_attention");
}

/** Angle per position of each pair of features, for both kinds of layers. */
function frequencies(config: ModernBertConfig): Record<LayerKind, Float32Array> {
  const { full_attention: full, sliding_attention: sliding } = config.rope_parameters ?? {};
  const width = config.hidden_size / config.num_attention_heads;
  const fullTheta = full?.rope_theta ?? config.global_rope_theta;
  const slidingTheta = sliding?.rope_theta ?? config.local_rope_theta ?? fullTheta;
  return {
    full_attention: ropeFrequencies(width, { theta: fullTheta }),
    sliding_attention: ropeFrequencies(width, { theta: slidingTheta }),
  };
}

const layerNorm = ({ hidden_size, norm_eps, norm_bias }: ModernBertConfig): LayerNorm =>
  new LayerNorm(hidden_size, norm_eps, { bias: norm_bias });

class ModernBertEmbeddings extends Module {
  tok_embeddings: Embedding;
  norm: LayerNorm;
  drop: Dropout;

  constructor(config: ModernBertConfig) {
    super();
    const paddingIdx = config.pad_token_id ?? undefined;
    this.tok_embeddings = new Embedding(config.vocab_size, config.hidden_size, { paddingIdx });
    this.norm = layerNorm(config);
    this.drop = new Dropout(config.embedding_dropout);
  }

  /** int32 [B, T] → [B, T, C] */
  forward(inputIds: Tensor): Tensor {
    return this.drop.forward(this.norm.forward(this.tok_embeddings.forward(inputIds)));
  }
}

/** What the layers of one kind share: which keys a query sees, and how far positions are turned. */
interface Surroundings {
  /** [B, 1, 1 or T, T] */
  readonly bias: Tensor;
  readonly rotation: Rotation;
}

class ModernBertAttention extends Module {
  readonly #heads: number;
  readonly #dropout: number;
  Wqkv: Layer;
  Wo: Layer;
  out_drop: Layer;

  constructor(config: ModernBertConfig) {
    super();
    const { hidden_size: width, attention_bias: bias, attention_dropout: p } = config;
    this.#heads = config.num_attention_heads;
    this.#dropout = p;
    this.Wqkv = new Linear(width, 3 * width, { bias });
    this.Wo = new Linear(width, width, { bias });
    this.out_drop = p > 0 ? new Dropout(p) : new Identity();
  }

  /** x: [B, T, C] → [B, T, C] */
  forward(x: Tensor, { bias, rotation }: Surroundings): Tensor {
    const [q, k, v] = split(this.Wqkv.forward(x), 3, -1).map((part) =>
      splitHeads(part, this.#heads),
    ) as [Tensor, Tensor, Tensor]; // each [B, H, T, D]
    const attended = scaledDotProductAttention(
      applyRotation(q, rotation),
      applyRotation(k, rotation),
      v,
      {
        bias,
        dropout: { forward: (probabilities) => dropoutIn(this, probabilities, this.#dropout) },
      },
    );
    return this.out_drop.forward(this.Wo.forward(mergeHeads(attended)));
  }
}

/** A gated layer, GeGLU: `Wo(act(a) · g)` with [a, g] = Wi(x). Source: https://arxiv.org/abs/2002.05202 */
class ModernBertMLP extends Module {
  Wi: Layer;
  act: Layer;
  drop: Dropout;
  Wo: Layer;

  constructor(config: ModernBertConfig) {
    super();
    const { hidden_size: width, intermediate_size: inner, mlp_bias: bias } = config;
    this.Wi = new Linear(width, 2 * inner, { bias });
    this.act = activation(config.hidden_activation);
    this.drop = new Dropout(config.mlp_dropout);
    this.Wo = new Linear(inner, width, { bias });
  }

  forward(x: Tensor): Tensor {
    const [a, gate] = split(this.Wi.forward(x), 2, -1) as [Tensor, Tensor];
    return this.Wo.forward(this.drop.forward(mul(this.act.forward(a), gate)));
  }
}

class ModernBertEncoderLayer extends Module {
  readonly kind: LayerKind;
  attn_norm: Layer;
  attn: ModernBertAttention;
  mlp_norm: LayerNorm;
  mlp: ModernBertMLP;

  constructor(config: ModernBertConfig, layer: number) {
    super();
    this.kind = attentionKind(config, layer);
    // The first layer's input comes normalized from the embeddings.
    this.attn_norm = layer === 0 ? new Identity() : layerNorm(config);
    this.attn = new ModernBertAttention(config);
    this.mlp_norm = layerNorm(config);
    this.mlp = new ModernBertMLP(config);
  }

  forward(x: Tensor, surroundings: Surroundings): Tensor {
    const attended = add(x, this.attn.forward(this.attn_norm.forward(x), surroundings));
    return add(attended, this.mlp.forward(this.mlp_norm.forward(attended)));
  }
}

export class ModernBertModel extends Module {
  readonly #reach: number;
  embeddings: ModernBertEmbeddings;
  layers: ModuleList<ModernBertEncoderLayer>;
  final_norm: LayerNorm;
  rotary_emb: RotaryEmbedding<LayerKind>;

  constructor(config: ModernBertConfig) {
    super();
    this.#reach = Math.floor(config.local_attention / 2);
    this.embeddings = new ModernBertEmbeddings(config);
    this.layers = new ModuleList(
      Array.from(
        { length: config.num_hidden_layers },
        (_, layer) => new ModernBertEncoderLayer(config, layer),
      ),
    );
    this.final_norm = layerNorm(config);
    this.rotary_emb = new RotaryEmbedding(frequencies(config)).printedAs(
      "ModernBertRotaryEmbedding",
    );
  }

  /** → [B, T, C] */
  forward(inputs: ModelInputs): Tensor {
    const { inputIds, attentionMask } = inputs;
    const places = positionsOf(inputs);
    const surroundings: Record<LayerKind, Surroundings> = {
      full_attention: {
        bias: paddingBias(attentionMask),
        rotation: this.rotary_emb.forward(places, "full_attention"),
      },
      sliding_attention: {
        bias: localPaddingBias(attentionMask, this.#reach),
        rotation: this.rotary_emb.forward(places, "sliding_attention"),
      },
    };
    let x = this.embeddings.forward(inputIds);
    for (const layer of this.layers) x = layer.forward(x, surroundings[layer.kind]);
    return this.final_norm.forward(x);
  }
}

/** Stands before the classifier in all tasks; the published checkpoints have it from pre-training. */
class ModernBertPredictionHead extends Module {
  dense: Layer;
  act: Layer;
  norm: LayerNorm;

  constructor(config: ModernBertConfig) {
    super();
    const { hidden_size: width, classifier_bias: bias } = config;
    this.dense = new Linear(width, width, { bias });
    this.act = activation(config.classifier_activation);
    this.norm = layerNorm(config);
  }

  forward(x: Tensor): Tensor {
    return this.norm.forward(this.act.forward(this.dense.forward(x)));
  }
}

/** Hidden states, pooled for sequence classification, go through the prediction head to the logits. */
function classifier(
  typeName: string,
  config: ModernBertConfig,
  labels: number,
  pool: (hidden: Tensor, inputs: ModelInputs) => Tensor = (hidden) => hidden,
): Model {
  const parts = {
    model: new ModernBertModel(config),
    head: new ModernBertPredictionHead(config),
    drop: new Dropout(config.classifier_dropout),
    classifier: new Linear(config.hidden_size, labels),
  };
  return new ModelWithHead(typeName, parts, (part, inputs) => {
    const pooled = pool(hiddenStates(part("model"), inputs), inputs);
    return part("classifier").forward(part("drop").forward(part("head").forward(pooled)));
  });
}

export const modernbert: ModelFamily<ModernBertConfig> = {
  modelType: "modernbert",
  configSchema,
  models: {
    SEQ_CLS: (config) =>
      classifier(
        "ModernBertForSequenceClassification",
        config,
        numLabels(config),
        config.classifier_pooling === "cls"
          ? firstToken
          : (hidden, { attentionMask }) => meanOfTokens(hidden, attentionMask),
      ),
    TOKEN_CLS: (config) =>
      classifier("ModernBertForTokenClassification", config, numLabels(config)),
    QUESTION_ANS: (config) => classifier("ModernBertForQuestionAnswering", config, 2),
  },
  basePrefixes: ["model"],
  headModules: ["head", "classifier"],
  loraTargets: ["Wqkv"],
  dropoutKeys: ["attention_dropout", "embedding_dropout", "mlp_dropout", "classifier_dropout"],
  limits: (config) => ({
    maxLength: config.max_position_embeddings,
    vocabSize: config.vocab_size,
    padTokenId: config.pad_token_id ?? 0,
  }),
};

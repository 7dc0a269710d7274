/** @file DistilBERT: BERT with half the layers, without segments and pooler. Source:
 * https://arxiv.org/abs/1910.01108; module names as in transformers' modeling_distilbert. */
import { z } from "zod";
import type { Tensor } from "../graph/node.ts";
import { mergeHeads, paddingBias, scaledDotProductAttention, splitHeads } from "../nn/attention.ts";
import { activation, Dropout, Embedding, LayerNorm, Linear } from "../nn/layers.ts";
import { Module, ModuleList, type Layer } from "../nn/module.ts";
import { add, relu } from "../ops/elementwise.ts";
import { renameLayerNorm } from "./bert.ts";
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
  hiddenStates,
  ModelWithHead,
  partsOf,
  spanClassifier,
  tokenClassifier,
  type Bare,
} from "./heads.ts";
import { firstToken } from "./pooling.ts";
import { positionsOf } from "./positions.ts";

const NORM_EPS = 1e-12;

const configSchema = baseConfigSchema.extend({
  vocab_size: count.default(30522),
  max_position_embeddings: count.default(512),
  n_layers: layerCount.default(6),
  n_heads: count.default(12),
  dim: count.default(768),
  hidden_dim: count.default(3072),
  activation: activationName.default("gelu"),
  dropout: z.number().default(0.1),
  attention_dropout: z.number().default(0.1),
  qa_dropout: z.number().default(0.1),
  seq_classif_dropout: z.number().default(0.2),
  pad_token_id: z.number().int().nullish().default(0),
  // Other families' names, which transformers understands here too.
  hidden_size: z.undefined("is dim here").optional(),
  num_hidden_layers: z.undefined("is n_layers here").optional(),
  num_attention_heads: z.undefined("is n_heads here").optional(),
});

export type DistilBertConfig = z.infer<typeof configSchema>;

class Embeddings extends Module {
  word_embeddings: Embedding;
  /** Sinusoidal ones (`sinusoidal_pos_embds`) are stored in checkpoints like learned ones. */
  position_embeddings: Embedding;
  LayerNorm: LayerNorm;
  dropout: Dropout;

  constructor(config: DistilBertConfig) {
    super();
    const paddingIdx = config.pad_token_id ?? undefined;
    this.word_embeddings = new Embedding(config.vocab_size, config.dim, { paddingIdx });
    this.position_embeddings = new Embedding(config.max_position_embeddings, config.dim);
    this.LayerNorm = new LayerNorm(config.dim, NORM_EPS);
    this.dropout = new Dropout(config.dropout);
  }

  /** → [B, T, C] */
  forward(inputs: ModelInputs): Tensor {
    const place = this.position_embeddings.forward(positionsOf(inputs));
    const sum = add(this.word_embeddings.forward(inputs.inputIds), place);
    return this.dropout.forward(this.LayerNorm.forward(sum));
  }
}

class DistilBertSelfAttention extends Module {
  readonly #heads: number;
  q_lin: Layer;
  k_lin: Layer;
  v_lin: Layer;
  out_lin: Layer;
  dropout: Dropout;

  constructor({ dim, n_heads, attention_dropout }: DistilBertConfig) {
    super();
    this.#heads = n_heads;
    this.q_lin = new Linear(dim, dim);
    this.k_lin = new Linear(dim, dim);
    this.v_lin = new Linear(dim, dim);
    this.out_lin = new Linear(dim, dim);
    this.dropout = new Dropout(attention_dropout);
  }

  /** x: [B, T, C], bias: [B, 1, 1, T] → [B, T, C] */
  forward(x: Tensor, bias: Tensor): Tensor {
    const [q, k, v] = [this.q_lin, this.k_lin, this.v_lin].map((projection) =>
      splitHeads(projection.forward(x), this.#heads),
    ) as [Tensor, Tensor, Tensor];
    const attended = scaledDotProductAttention(q, k, v, { bias, dropout: this.dropout });
    return this.out_lin.forward(mergeHeads(attended));
  }
}

class FFN extends Module {
  dropout: Dropout;
  lin1: Layer;
  lin2: Layer;
  activation: Layer;

  constructor(config: DistilBertConfig) {
    super();
    this.dropout = new Dropout(config.dropout);
    this.lin1 = new Linear(config.dim, config.hidden_dim);
    this.lin2 = new Linear(config.hidden_dim, config.dim);
    this.activation = activation(config.activation);
  }

  forward(x: Tensor): Tensor {
    return this.dropout.forward(this.lin2.forward(this.activation.forward(this.lin1.forward(x))));
  }
}

class TransformerBlock extends Module {
  attention: DistilBertSelfAttention;
  sa_layer_norm: LayerNorm;
  ffn: FFN;
  output_layer_norm: LayerNorm;

  constructor(config: DistilBertConfig) {
    super();
    this.attention = new DistilBertSelfAttention(config);
    this.sa_layer_norm = new LayerNorm(config.dim, NORM_EPS);
    this.ffn = new FFN(config);
    this.output_layer_norm = new LayerNorm(config.dim, NORM_EPS);
  }

  forward(x: Tensor, bias: Tensor): Tensor {
    const attended = this.sa_layer_norm.forward(add(this.attention.forward(x, bias), x));
    return this.output_layer_norm.forward(add(this.ffn.forward(attended), attended));
  }
}

class Transformer extends Module {
  layer: ModuleList<TransformerBlock>;

  constructor(config: DistilBertConfig) {
    super();
    this.layer = new ModuleList(
      Array.from({ length: config.n_layers }, () => new TransformerBlock(config)),
    );
  }

  forward(x: Tensor, bias: Tensor): Tensor {
    for (const layer of this.layer) x = layer.forward(x, bias);
    return x;
  }
}

export class DistilBertModel extends Module {
  embeddings: Embeddings;
  transformer: Transformer;

  constructor(config: DistilBertConfig) {
    super();
    this.embeddings = new Embeddings(config);
    this.transformer = new Transformer(config);
  }

  /** → [B, T, C] */
  forward(inputs: ModelInputs): Tensor {
    const bias = paddingBias(inputs.attentionMask);
    return this.transformer.forward(this.embeddings.forward(inputs), bias);
  }
}

const bareModel = (config: DistilBertConfig): Bare => ({
  name: "distilbert",
  model: new DistilBertModel(config),
  width: config.dim,
});

export const distilbert: ModelFamily<DistilBertConfig> = {
  modelType: "distilbert",
  configSchema,
  models: {
    SEQ_CLS: (config) =>
      new ModelWithHead(
        "DistilBertForSequenceClassification",
        partsOf(bareModel(config), {
          pre_classifier: new Linear(config.dim, config.dim),
          classifier: new Linear(config.dim, numLabels(config)),
          dropout: new Dropout(config.seq_classif_dropout),
        }),
        (part, inputs) => {
          const first = firstToken(hiddenStates(part("distilbert"), inputs));
          const hidden = relu(part("pre_classifier").forward(first));
          return part("classifier").forward(part("dropout").forward(hidden));
        },
      ),
    TOKEN_CLS: (config) =>
      tokenClassifier("DistilBertForTokenClassification", bareModel(config), {
        labels: numLabels(config),
        dropout: config.dropout,
      }),
    QUESTION_ANS: (config) =>
      spanClassifier("DistilBertForQuestionAnswering", bareModel(config), config.qa_dropout),
  },
  basePrefixes: ["distilbert"],
  headModules: ["pre_classifier", "classifier", "qa_outputs"],
  renameStored: renameLayerNorm,
  loraTargets: ["q_lin", "v_lin"],
  dropoutKeys: ["dropout", "attention_dropout", "qa_dropout", "seq_classif_dropout"],
  limits: (config) => ({
    maxLength: config.max_position_embeddings,
    vocabSize: config.vocab_size,
    padTokenId: config.pad_token_id ?? 0,
  }),
};

/** @file BERT. Source: https://arxiv.org/abs/1810.04805; module names as in transformers'
 * modeling_bert, which are the keys of its checkpoints. RoBERTa (roberta.ts) has the same encoder. */
import { z } from "zod";
import type { Tensor } from "../graph/node.ts";
import { mergeHeads, paddingBias, scaledDotProductAttention, splitHeads } from "../nn/attention.ts";
import { activation, Dropout, Embedding, LayerNorm, Linear, Tanh } from "../nn/layers.ts";
import { Module, ModuleList, type Layer } from "../nn/module.ts";
import { add } from "../ops/elementwise.ts";
import { slice } from "../ops/movement.ts";
import {
  activationName,
  baseConfigSchema,
  count,
  layerCount,
  numLabels,
  type ModelFamily,
  type ModelInputs,
} from "./family.ts";
import { spanClassifier, tokenClassifier, type Bare } from "./heads.ts";
import { firstToken } from "./pooling.ts";
import { positionsOf } from "./positions.ts";

export const bertConfigSchema = baseConfigSchema.extend({
  vocab_size: count.default(30522),
  hidden_size: count.default(768),
  num_hidden_layers: layerCount.default(12),
  num_attention_heads: count.default(12),
  intermediate_size: count.default(3072),
  hidden_act: activationName.default("gelu"),
  hidden_dropout_prob: z.number().default(0.1),
  attention_probs_dropout_prob: z.number().default(0.1),
  classifier_dropout: z.number().nullish(),
  max_position_embeddings: count.default(512),
  type_vocab_size: count.default(2),
  layer_norm_eps: z.number().default(1e-12),
  pad_token_id: z.number().int().nullish().default(0),
  position_embedding_type: z.literal("absolute").default("absolute"),
  is_decoder: z.literal(false).default(false),
  add_cross_attention: z.literal(false).default(false),
});

export type BertConfig = z.infer<typeof bertConfigSchema>;

/** What the names of transformers' classes begin with, by model_type. */
const CLASS_PREFIXES: Readonly<Record<string, string>> = {
  bert: "Bert",
  roberta: "Roberta",
  "xlm-roberta": "XLMRoberta",
};

/** The name of a class in a family: "BertLayer" is "RobertaLayer" in RoBERTa. */
export function className(name: string, { model_type }: Pick<BertConfig, "model_type">): string {
  return name.replace(/^(Bert|Roberta)/, CLASS_PREFIXES[model_type]!);
}

/** A part of the encoder, printed under the name that it has in its family. */
export abstract class BertPart extends Module {
  constructor(config: BertConfig) {
    super();
    this.printedAs(className(new.target.name, config));
  }
}

class BertEmbeddings extends Module {
  word_embeddings: Embedding;
  position_embeddings: Embedding;
  token_type_embeddings: Embedding;
  LayerNorm: LayerNorm;
  dropout: Dropout;

  constructor(config: BertConfig) {
    super();
    const paddingIdx = config.pad_token_id ?? undefined;
    this.word_embeddings = new Embedding(config.vocab_size, config.hidden_size, { paddingIdx });
    this.position_embeddings = new Embedding(config.max_position_embeddings, config.hidden_size);
    this.token_type_embeddings = new Embedding(config.type_vocab_size, config.hidden_size);
    this.LayerNorm = new LayerNorm(config.hidden_size, config.layer_norm_eps);
    this.dropout = new Dropout(config.hidden_dropout_prob);
  }

  /** → [B, T, C] */
  forward(inputs: ModelInputs): Tensor {
    const { inputIds, tokenTypeIds } = inputs;
    const place = this.position_embeddings.forward(positionsOf(inputs));
    // Without segment ids every token is in segment 0: one row serves all.
    const segment = tokenTypeIds
      ? this.token_type_embeddings.forward(tokenTypeIds)
      : slice(this.token_type_embeddings.weight, 0, 0, 1);
    const sum = add(add(this.word_embeddings.forward(inputIds), segment), place);
    return this.dropout.forward(this.LayerNorm.forward(sum));
  }
}

class BertSelfAttention extends BertPart {
  readonly #heads: number;
  query: Layer;
  key: Layer;
  value: Layer;
  dropout: Dropout;

  constructor(config: BertConfig) {
    super(config);
    this.#heads = config.num_attention_heads;
    this.query = new Linear(config.hidden_size, config.hidden_size);
    this.key = new Linear(config.hidden_size, config.hidden_size);
    this.value = new Linear(config.hidden_size, config.hidden_size);
    this.dropout = new Dropout(config.attention_probs_dropout_prob);
  }

  /** x: [B, T, C], bias: [B, 1, 1, T] → [B, T, C] */
  forward(x: Tensor, bias: Tensor): Tensor {
    const [q, k, v] = [this.query, this.key, this.value].map((projection) =>
      splitHeads(projection.forward(x), this.#heads),
    ) as [Tensor, Tensor, Tensor];
    return mergeHeads(scaledDotProductAttention(q, k, v, { bias, dropout: this.dropout }));
  }
}

/** A projection with dropout, added to what came in and normalized: ends both halves of a layer. */
class BertSelfOutput extends BertPart {
  dense: Layer;
  LayerNorm: LayerNorm;
  dropout: Dropout;

  constructor(config: BertConfig, inFeatures = config.hidden_size) {
    super(config);
    this.dense = new Linear(inFeatures, config.hidden_size);
    this.LayerNorm = new LayerNorm(config.hidden_size, config.layer_norm_eps);
    this.dropout = new Dropout(config.hidden_dropout_prob);
  }

  forward(x: Tensor, residual: Tensor): Tensor {
    return this.LayerNorm.forward(add(this.dropout.forward(this.dense.forward(x)), residual));
  }
}

class BertOutput extends BertSelfOutput {
  constructor(config: BertConfig) {
    super(config, config.intermediate_size);
  }
}

class BertAttention extends BertPart {
  self: BertSelfAttention;
  output: BertSelfOutput;

  constructor(config: BertConfig) {
    super(config);
    this.self = new BertSelfAttention(config);
    this.output = new BertSelfOutput(config);
  }

  forward(x: Tensor, bias: Tensor): Tensor {
    return this.output.forward(this.self.forward(x, bias), x);
  }
}

class BertIntermediate extends BertPart {
  dense: Layer;
  intermediate_act_fn: Layer;

  constructor(config: BertConfig) {
    super(config);
    this.dense = new Linear(config.hidden_size, config.intermediate_size);
    this.intermediate_act_fn = activation(config.hidden_act);
  }

  forward(x: Tensor): Tensor {
    return this.intermediate_act_fn.forward(this.dense.forward(x));
  }
}

class BertLayer extends BertPart {
  attention: BertAttention;
  intermediate: BertIntermediate;
  output: BertOutput;

  constructor(config: BertConfig) {
    super(config);
    this.attention = new BertAttention(config);
    this.intermediate = new BertIntermediate(config);
    this.output = new BertOutput(config);
  }

  forward(x: Tensor, bias: Tensor): Tensor {
    const attended = this.attention.forward(x, bias);
    return this.output.forward(this.intermediate.forward(attended), attended);
  }
}

/** The layers: what BERT and RoBERTa have in common. */
export class BertEncoder extends BertPart {
  layer: ModuleList<BertLayer>;

  constructor(config: BertConfig) {
    super(config);
    this.layer = new ModuleList(
      Array.from({ length: config.num_hidden_layers }, () => new BertLayer(config)),
    );
  }

  forward(x: Tensor, bias: Tensor): Tensor {
    for (const layer of this.layer) x = layer.forward(x, bias);
    return x;
  }
}

class BertPooler extends Module {
  dense: Layer;
  activation: Layer;

  constructor(config: BertConfig) {
    super();
    this.dense = new Linear(config.hidden_size, config.hidden_size);
    this.activation = new Tanh();
  }

  /** [B, T, C] → [B, C] */
  forward(x: Tensor): Tensor {
    return this.activation.forward(this.dense.forward(firstToken(x)));
  }
}

export class BertModel extends Module {
  embeddings: BertEmbeddings;
  encoder: BertEncoder;
  /** Where the first token stands for the sequence. */
  pooler?: BertPooler;

  constructor(config: BertConfig, { pooler }: { pooler: boolean }) {
    super();
    this.embeddings = new BertEmbeddings(config);
    this.encoder = new BertEncoder(config);
    if (pooler) this.pooler = new BertPooler(config);
  }

  /** → [B, T, C] */
  forward(inputs: ModelInputs): Tensor {
    const bias = paddingBias(inputs.attentionMask);
    return this.encoder.forward(this.embeddings.forward(inputs), bias);
  }
}

export class BertForSequenceClassification extends Module {
  bert: BertModel;
  dropout: Dropout;
  classifier: Layer;

  constructor(config: BertConfig) {
    super();
    this.bert = new BertModel(config, { pooler: true });
    this.dropout = new Dropout(classifierDropout(config));
    this.classifier = new Linear(config.hidden_size, numLabels(config));
  }

  /** → logits [B, labels] */
  forward(inputs: ModelInputs): Tensor {
    const pooled = this.bert.pooler!.forward(this.bert.forward(inputs));
    return this.classifier.forward(this.dropout.forward(pooled));
  }
}

/** Keys of the configuration that are probabilities of dropout. */
export const BERT_DROPOUTS = [
  "hidden_dropout_prob",
  "attention_probs_dropout_prob",
  "classifier_dropout",
] as const;

export const classifierDropout = (config: BertConfig): number =>
  config.classifier_dropout ?? config.hidden_dropout_prob;

const bareModel = (config: BertConfig): Bare => ({
  name: "bert",
  model: new BertModel(config, { pooler: false }),
  width: config.hidden_size,
});

/** The names of layer norms' parameters in checkpoints that TensorFlow's were converted to. */
export const renameLayerNorm = (name: string): string =>
  name
    .replace(/LayerNorm\.gamma$/, "LayerNorm.weight")
    .replace(/LayerNorm\.beta$/, "LayerNorm.bias");

export const bert: ModelFamily<BertConfig> = {
  modelType: "bert",
  configSchema: bertConfigSchema,
  models: {
    SEQ_CLS: (config) => new BertForSequenceClassification(config),
    TOKEN_CLS: (config) =>
      tokenClassifier("BertForTokenClassification", bareModel(config), {
        labels: numLabels(config),
        dropout: classifierDropout(config),
      }),
    QUESTION_ANS: (config) => spanClassifier("BertForQuestionAnswering", bareModel(config)),
  },
  basePrefixes: ["bert"],
  headModules: ["classifier", "qa_outputs"],
  optionalModules: ["bert.pooler"],
  renameStored: renameLayerNorm,
  loraTargets: ["query", "value"],
  dropoutKeys: BERT_DROPOUTS,
  limits: (config) => ({
    maxLength: config.max_position_embeddings,
    vocabSize: config.vocab_size,
    padTokenId: config.pad_token_id ?? 0,
  }),
};

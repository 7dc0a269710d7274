/** @file RoBERTa and XLM-RoBERTa: BERT's encoder with positions that skip padding, no pooler, and a
 * classification head of two layers. Sources: https://arxiv.org/abs/1907.11692,
 * https://arxiv.org/abs/1911.02116; module names as in transformers' modeling_roberta. */
import { z } from "zod";
import type { Tensor } from "../graph/node.ts";
import { paddingBias } from "../nn/attention.ts";
import { Dropout, Embedding, LayerNorm, Linear } from "../nn/layers.ts";
import type { Layer } from "../nn/module.ts";
import { add, tanh } from "../ops/elementwise.ts";
import { slice } from "../ops/movement.ts";
import {
  BERT_DROPOUTS,
  bertConfigSchema,
  BertEncoder,
  BertPart,
  className,
  classifierDropout,
  renameLayerNorm,
} from "./bert.ts";
import { positionsOfTokens } from "./positions.ts";
import { count, numLabels, type ModelFamily, type ModelInputs } from "./family.ts";
import {
  hiddenStates,
  ModelWithHead,
  partsOf,
  spanClassifier,
  tokenClassifier,
  type Bare,
} from "./heads.ts";
import { firstToken } from "./pooling.ts";

const configSchema = bertConfigSchema.extend({
  vocab_size: count.default(50265),
  pad_token_id: z.number().int().default(1),
});

export type RobertaConfig = z.infer<typeof configSchema>;

class RobertaEmbeddings extends BertPart {
  readonly #padTokenId: number;
  readonly #segments: number;
  word_embeddings: Embedding;
  token_type_embeddings: Embedding;
  LayerNorm: LayerNorm;
  dropout: Dropout;
  position_embeddings: Embedding;

  constructor(config: RobertaConfig) {
    super(config);
    const { hidden_size: width, pad_token_id: paddingIdx } = config;
    this.#padTokenId = paddingIdx;
    this.#segments = config.type_vocab_size;
    this.word_embeddings = new Embedding(config.vocab_size, width, { paddingIdx });
    this.token_type_embeddings = new Embedding(config.type_vocab_size, width);
    this.LayerNorm = new LayerNorm(width, config.layer_norm_eps);
    this.dropout = new Dropout(config.hidden_dropout_prob);
    this.position_embeddings = new Embedding(config.max_position_embeddings, width, { paddingIdx });
  }

  /** → [B, T, C] */
  forward({ inputIds, tokenTypeIds, positionIds }: ModelInputs): Tensor {
    const place = this.position_embeddings.forward(
      positionIds ?? positionsOfTokens(inputIds, this.#padTokenId),
    );
    // The published models have one segment only.
    const segment =
      tokenTypeIds && this.#segments > 1
        ? this.token_type_embeddings.forward(tokenTypeIds)
        : slice(this.token_type_embeddings.weight, 0, 0, 1);
    const sum = add(add(this.word_embeddings.forward(inputIds), segment), place);
    return this.dropout.forward(this.LayerNorm.forward(sum));
  }
}

export class RobertaModel extends BertPart {
  embeddings: RobertaEmbeddings;
  encoder: BertEncoder;

  constructor(config: RobertaConfig) {
    super(config);
    this.embeddings = new RobertaEmbeddings(config);
    this.encoder = new BertEncoder(config);
  }

  /** → [B, T, C] */
  forward(inputs: ModelInputs): Tensor {
    const bias = paddingBias(inputs.attentionMask);
    return this.encoder.forward(this.embeddings.forward(inputs), bias);
  }
}

class RobertaClassificationHead extends BertPart {
  dense: Layer;
  dropout: Dropout;
  out_proj: Layer;

  constructor(config: RobertaConfig) {
    super(config);
    this.dense = new Linear(config.hidden_size, config.hidden_size);
    this.dropout = new Dropout(classifierDropout(config));
    this.out_proj = new Linear(config.hidden_size, numLabels(config));
  }

  /** The first token's hidden state [B, C] → logits [B, labels] */
  forward(x: Tensor): Tensor {
    const hidden = tanh(this.dense.forward(this.dropout.forward(x)));
    return this.out_proj.forward(this.dropout.forward(hidden, "hidden"));
  }
}

const bareModel = (config: RobertaConfig): Bare => ({
  name: "roberta",
  model: new RobertaModel(config),
  width: config.hidden_size,
  comesLast: config.model_type === "xlm-roberta",
});

/** The families differ in their tokenizers and names only. */
const family = (modelType: "roberta" | "xlm-roberta"): ModelFamily<RobertaConfig> => ({
  modelType,
  configSchema,
  models: {
    SEQ_CLS: (config) =>
      new ModelWithHead(
        className("RobertaForSequenceClassification", config),
        partsOf(bareModel(config), { classifier: new RobertaClassificationHead(config) }),
        (part, inputs) =>
          part("classifier").forward(firstToken(hiddenStates(part("roberta"), inputs))),
      ),
    TOKEN_CLS: (config) =>
      tokenClassifier(className("RobertaForTokenClassification", config), bareModel(config), {
        labels: numLabels(config),
        dropout: classifierDropout(config),
      }),
    QUESTION_ANS: (config) =>
      spanClassifier(className("RobertaForQuestionAnswering", config), bareModel(config)),
  },
  basePrefixes: ["roberta"],
  headModules: ["classifier", "qa_outputs"],
  renameStored: renameLayerNorm,
  loraTargets: ["query", "value"],
  dropoutKeys: BERT_DROPOUTS,
  limits: (config) => ({
    // Positions begin after padding's.
    maxLength: config.max_position_embeddings - config.pad_token_id - 1,
    vocabSize: config.vocab_size,
    padTokenId: config.pad_token_id,
  }),
});

export const roberta = family("roberta");
export const xlmRoberta = family("xlm-roberta");

/** @file From what is peculiar to one of LLaMA's descendants to its models for all tasks. */
import type { z } from "zod";
import { softCap } from "../nn/attention.ts";
import { GatedMlp, type GatedMlpOptions } from "../nn/gated-mlp.ts";
import {
  GroupedQueryAttention,
  type GroupedQueryAttentionOptions,
} from "../nn/grouped-query-attention.ts";
import { Embedding, RmsNorm } from "../nn/layers.ts";
import { RotaryEmbedding, ropeFrequencies, type Rope } from "../nn/rotary.ts";
import { Decoder, headSizes, type DecoderConfig, type DecoderLayer } from "./decoder.ts";
import {
  LAYER_KINDS,
  numLabels,
  type BaseConfig,
  type LayerKind,
  type Model,
  type ModelFamily,
  type TaskType,
} from "./family.ts";
import {
  languageModel,
  lastTokenClassifier,
  spanClassifier,
  tokenClassifier,
  type Bare,
} from "./heads.ts";

/** The parts of a layer in a configuration's sizes; a family adds what it has besides. */
export interface LayerBuilder {
  attention(
    options?: Pick<
      GroupedQueryAttentionOptions,
      "bias" | "outputBias" | "headNorm" | "scale" | "softCap"
    >,
  ): GroupedQueryAttention;
  mlp(options: Pick<GatedMlpOptions, "activation" | "bias">): GatedMlp;
  /** A normalization of C, or of another width. */
  norm(width?: number): RmsNorm;
}

export interface DecoderFamily<C extends DecoderConfig> {
  readonly modelType: string;
  readonly configSchema: z.ZodType<C>;
  /** What the names of transformers' classes begin with: "Llama". */
  readonly className: string;
  /** The class of the stack. Default `className` + "Model". */
  readonly stackName?: string;
  /** The class of each task's model. Default: `className` + "ForCausalLM" and so on. */
  readonly classNames?: Readonly<Partial<Record<TaskType, string>>>;
  /** The stack's name in question answering. Default "transformer"; it is "model" elsewhere. */
  readonly spanStack?: string;

  readonly layer: (config: C, parts: LayerBuilder) => DecoderLayer;
  readonly rope: (config: C, kind: LayerKind) => Rope;
  /** The kind of a layer. Default: all have full attention. */
  readonly kind?: (config: C, layer: number) => LayerKind;
  /** Keys that a query of a sliding layer sees. */
  readonly window?: (config: C) => number | null | undefined;
  /** Added to the weights of normalizations. Default 0. */
  readonly normOffset?: number;
  /** Factor of the embeddings. */
  readonly embeddingScale?: (config: C) => number;
  /** Soft limit of a language model's logits. */
  readonly logitCap?: (config: C) => number | null | undefined;
}

/** The family with models for causal language modelling, sequence and token classification, question
 * answering (those of `classNames`, where given). */
export function decoderFamily<C extends DecoderConfig>(family: DecoderFamily<C>): ModelFamily<C> {
  const { modelType, className, spanStack = "transformer" } = family;
  const classNames = family.classNames ?? {
    CAUSAL_LM: `${className}ForCausalLM`,
    SEQ_CLS: `${className}ForSequenceClassification`,
    TOKEN_CLS: `${className}ForTokenClassification`,
    QUESTION_ANS: `${className}ForQuestionAnswering`,
  };
  const stack = (config: C, name = "model"): Bare & { model: Decoder } => ({
    name,
    model: buildDecoder(family, config),
    width: config.hidden_size,
  });
  const builders: Record<TaskType, (name: string, config: C) => Model> = {
    CAUSAL_LM: (name, config) => {
      const bare = stack(config);
      const cap = family.logitCap?.(config);
      return languageModel(name, bare, {
        vocabSize: config.vocab_size,
        tied: config.tie_word_embeddings ? bare.model.embed_tokens.weight : undefined,
        ...(cap ? { transform: (logits) => softCap(logits, cap) } : {}),
      });
    },
    SEQ_CLS: (name, config) =>
      lastTokenClassifier(name, stack(config), {
        labels: numLabels(config),
        padTokenId: config.pad_token_id ?? undefined,
      }),
    TOKEN_CLS: (name, config) =>
      tokenClassifier(name, stack(config), {
        labels: numLabels(config),
        head: "score",
        dropout: config.classifier_dropout ?? config.hidden_dropout ?? 0.1,
      }),
    QUESTION_ANS: (name, config) => spanClassifier(name, stack(config, spanStack)),
  };
  const models = Object.entries(classNames).map(([task, name]) => [
    task,
    (config: C) => builders[task as TaskType](name, config),
  ]);
  return {
    modelType,
    configSchema: family.configSchema.superRefine((config, context) => {
      for (const [key, message] of problems(family, config))
        context.addIssue({ code: "custom", path: [key], message });
    }),
    models: Object.fromEntries(models),
    basePrefixes: ["model", "transformer"],
    headModules: ["lm_head", "score", "qa_outputs"],
    loraTargets: ["q_proj", "v_proj"],
    dropoutKeys: ["attention_dropout", "classifier_dropout"],
    limits: (config) => ({
      maxLength: config.max_position_embeddings,
      vocabSize: config.vocab_size,
      padTokenId: config.pad_token_id ?? 0,
    }),
  };
}

function buildDecoder<C extends DecoderConfig>(family: DecoderFamily<C>, config: C): Decoder {
  const { className, stackName = `${className}Model` } = family;
  const sizes = headSizes(config);
  const parts: LayerBuilder = {
    attention: (options = {}) =>
      new GroupedQueryAttention({
        width: config.hidden_size,
        ...sizes,
        dropout: config.attention_dropout ?? 0,
        ...options,
      }).printedAs(`${className}Attention`),
    mlp: (options) =>
      new GatedMlp({
        width: config.hidden_size,
        innerWidth: config.intermediate_size,
        ...options,
      }).printedAs(`${className}MLP`),
    norm: (width = config.hidden_size) =>
      new RmsNorm(width, { eps: config.rms_norm_eps, offset: family.normOffset ?? 0 }).printedAs(
        `${className}RMSNorm`,
      ),
  };
  const frequencies = LAYER_KINDS.map((kind) => [
    kind,
    ropeFrequencies(sizes.headWidth, family.rope(config, kind)),
  ]);
  const paddingIdx = config.pad_token_id ?? undefined;
  const embedding = new Embedding(config.vocab_size, config.hidden_size, { paddingIdx });
  const embeddingScale = family.embeddingScale?.(config);
  return new Decoder({
    embedding:
      embeddingScale === undefined
        ? embedding
        : embedding.printedAs(`${className}TextScaledWordEmbedding`),
    embeddingScale,
    layers: Array.from({ length: config.num_hidden_layers }, () =>
      family.layer(config, parts).printedAs(`${className}DecoderLayer`),
    ),
    kinds: layerKinds(family, config),
    window: family.window?.(config) ?? undefined,
    norm: parts.norm(),
    rotary: new RotaryEmbedding<LayerKind>(Object.fromEntries(frequencies)).printedAs(
      `${className}RotaryEmbedding`,
    ),
  }).printedAs(stackName);
}

function layerKinds<C extends DecoderConfig>(family: DecoderFamily<C>, config: C): LayerKind[] {
  return Array.from(
    { length: config.num_hidden_layers },
    (_, layer) => family.kind?.(config, layer) ?? "full_attention",
  );
}

/** Sizes that no model can have: key and message. */
function problems<C extends DecoderConfig>(
  family: DecoderFamily<C>,
  config: C,
): [key: string, message: string][] {
  const { heads, keyValueHeads, headWidth } = headSizes(config);
  const found: [string, string][] = [];
  if (heads % keyValueHeads !== 0) {
    const message = `expected a divisor of the ${heads} heads, got ${keyValueHeads}`;
    found.push(["num_key_value_heads", message]);
  }
  if (!Number.isInteger(headWidth / 2)) {
    const message = `expected an even width, whose features are rotated in pairs, got ${headWidth}`;
    found.push(["head_dim", message]);
  }
  const { layer_types: kinds } = config as BaseConfig & { layer_types?: readonly unknown[] | null };
  if (kinds && kinds.length !== config.num_hidden_layers) {
    const message = `expected an entry for each of the ${config.num_hidden_layers} layers, got ${kinds.length}`;
    found.push(["layer_types", message]);
  }
  if (layerKinds(family, config).includes("sliding_attention") && !family.window?.(config))
    found.push(["sliding_window", "expected a number, since some layers have sliding attention"]);
  return found;
}

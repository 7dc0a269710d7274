/** @file What a model family is: the object that each file of this folder exports. */
import { z } from "zod";
import { LowrankError } from "../errors.ts";
import type { Tensor } from "../graph/node.ts";
import type { KeyValueCache } from "../nn/key-value-cache.ts";
import { ACTIVATION_NAMES } from "../nn/layers.ts";
import type { Module } from "../nn/module.ts";

/** Tasks by PEFT's names. */
export const TASK_TYPES = ["SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS", "CAUSAL_LM"] as const;
/** A task that a model is built for. */
export type TaskType = (typeof TASK_TYPES)[number];

/** Inputs of a model, named as in transformers. B batch, T tokens. */
export interface ModelInputs {
  /** int32 [B, T] */
  readonly inputIds: Tensor;
  /** int32 [B, T]: 1 real, 0 padding. */
  readonly attentionMask: Tensor;
  /** int32 [B, T], models with segments only. Default 0. */
  readonly tokenTypeIds?: Tensor;
  /** int32 [B, T]. Default 0, 1, 2, … */
  readonly positionIds?: Tensor;
  /** Keys and values of tokens before these, decoders only. Default: there are none. */
  readonly cache?: KeyValueCache;
}

/** A model with a head: `forward` gives the logits: [B, labels] for sequences, [B, T, labels] for tokens,
 * [B, T, 2] for spans (start, end), [B, T, V] for language models. */
export interface Model extends Module {
  forward(inputs: ModelInputs): Tensor;
}

/** What is checked of a configuration as a whole may rely on its sizes. */
const ABORT = { abort: true };

/** A size. Above this one, which no model reaches, tables that are made of sizes would fill the memory. */
export const count = z
  .number()
  .int(ABORT)
  .positive(ABORT)
  .max(2 ** 24, ABORT);

/** A number of layers, each of which is made of modules. */
export const layerCount = count.max(1000, ABORT);

/** An activation that is implemented. */
export const activationName = z.enum(ACTIVATION_NAMES as [string, ...string[]]);

/** How far a layer's tokens look, by transformers' `layer_types`: everywhere, or through a window. */
export const LAYER_KINDS = ["full_attention", "sliding_attention"] as const;
export type LayerKind = (typeof LAYER_KINDS)[number];

/** The keys of config.json that all families share. */
export const baseConfigSchema = z.looseObject({
  model_type: z.string(),
  pad_token_id: z.number().int().nullish(),
  id2label: z.record(z.string(), z.string()).optional(),
  num_labels: z.number().int().positive().optional(),
  problem_type: z
    .enum(["single_label_classification", "multi_label_classification", "regression"])
    .nullish(),
});

export type BaseConfig = z.infer<typeof baseConfigSchema>;

/** Number of labels as transformers counts them: of id2label, else num_labels, else 2. */
export function numLabels(config: BaseConfig): number {
  if (config.id2label) return Object.keys(config.id2label).length;
  return config.num_labels ?? 2;
}

/** What a family of models is: its configuration, a model for each task, and what loading and LoRA have to know. */
export interface ModelFamily<C extends BaseConfig = any> {
  /** As in config.json, and the name of the family's file. */
  readonly modelType: string;
  readonly configSchema: z.ZodType<C>;
  readonly models: Readonly<Partial<Record<TaskType, (config: C) => Model>>>;
  /** Names of the part without head, "transformer" or "bert": checkpoints of the bare model lack it, and
   * those for another task may have another one. */
  readonly basePrefixes: readonly string[];
  /** Parts that a checkpoint of the bare model lacks and that are then made new, each as a whole. */
  readonly headModules: readonly string[];
  /** Parts without which checkpoints for some tasks are stored, and that are then made new, each as a whole: "bert.pooler". */
  readonly optionalModules?: readonly string[];
  /** Fixes a stored tensor's name (older spellings); default: as it is. */
  readonly renameStored?: (name: string) => string;
  /** LoRA's usual targets, as in PEFT. */
  readonly loraTargets: readonly string[];
  /** Keys of the configuration that are probabilities of dropout. */
  readonly dropoutKeys: readonly string[];
  readonly limits: (config: C) => ModelLimits;
}

/** What a model takes. */
export interface ModelLimits {
  /** Longest sequence, in tokens. */
  readonly maxLength: number;
  readonly vocabSize: number;
  /** Token that fills up shorter sequences. */
  readonly padTokenId: number;
}

/** Parse a config with a family's schema; the error lists every key that does not fit. */
export function parseConfig<C extends BaseConfig>(
  family: ModelFamily<C>,
  raw: unknown,
  where: string,
): C {
  const result = family.configSchema.safeParse(raw);
  if (result.success) return result.data;
  const problems = result.error.issues.map(
    (issue) => `  ${issue.path.join(".") || "(whole file)"}: ${issue.message}`,
  );
  throw new LowrankError(
    "config",
    `${where}: not a configuration for ${family.modelType} that is implemented here:\n${problems.join("\n")}`,
  );
}

/** @file A base model with its tokenizer, made ready for a task and an adapter. */
import { join } from "node:path";
import { existsSync } from "node:fs";
import { checkRanks } from "../lora/apply.ts";
import { loraConfig, loraConfigSchema, type LoraConfig } from "../lora/config.ts";
import { findTargets, isSaved, modulesToSave } from "../lora/targets.ts";
import { AutoModel, type PretrainedModel } from "../models/auto.ts";
import { makeEncoder, paddingToken } from "../tasks/encoder.ts";
import type { Encoder, Task } from "../tasks/task.ts";
import { loadTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import type { TrainOptions } from "./options.ts";

export interface Base extends PretrainedModel {
  readonly tokenizer: Tokenizer;
  readonly encoder: Encoder;
  readonly padTokenId: number;
  /** What the user should know before training it. */
  readonly warnings: readonly string[];
}

export interface LoadBaseOptions {
  readonly directory: string;
  readonly task: Task;
  readonly maxLength?: number | undefined;
  /** Replace a head of another size. */
  readonly newHead?: boolean;
  /** Probability of every dropout; default: those of the configuration. */
  readonly dropout?: number | undefined;
  /** A directory whose tokenizer.json comes first where it has one: the adapter's. */
  readonly tokenizerDirectory?: string;
}

/** Load model and tokenizer; weights are read when an engine needs them. Throws LowrankError. */
export async function loadBase(options: LoadBaseOptions): Promise<Base> {
  const { directory, task, maxLength, newHead = false, dropout } = options;
  const pretrained = await AutoModel.fromPretrained(directory, {
    task: task.type,
    config: task.modelConfig,
    newHead,
    dropout,
  });
  const own = options.tokenizerDirectory;
  const hasOwn = own !== undefined && existsSync(join(own, "tokenizer.json"));
  const tokenizer = await loadTokenizer(hasOwn ? own : directory);
  const { config, limits } = pretrained;
  return {
    ...pretrained,
    tokenizer,
    encoder: makeEncoder({ tokenizer, config, limits, maxLength }),
    padTokenId: paddingToken(tokenizer, config, limits),
    warnings: newPartsWarning(pretrained),
  };
}

/** Parts of the model without head that are new: the task expects a new head, but these would have come with the model. */
function newPartsWarning({ directory, family, newParameters }: PretrainedModel): string[] {
  const parts = newParameters.filter((name) => !isNamedIn(name, family.headModules));
  if (parts.length === 0) return [];
  return [
    `${directory}: the checkpoint has no ${parts.join(", ")}. They are new, with random values, and trained from these.`,
  ];
}

/** Parts that neither the checkpoint nor the adapter has: PEFT makes them new as well, and predicts with them. */
export function unsavedWarning(base: PretrainedModel, lora: LoraConfig): string[] {
  const saved = modulesToSave(lora);
  const parts = base.newParameters.filter((name) => !isSaved(name, saved));
  if (parts.length === 0) return [];
  return [
    `${base.directory}: neither the checkpoint nor the adapter has ${parts.join(", ")}. Random values stand for them: ` +
      "predictions mean little. Use the model that the adapter was trained on.",
  ];
}

const isNamedIn = (name: string, modules: readonly string[]): boolean =>
  modules.some((module) => name.startsWith(`${module}.`));

/** The adapter's configuration for a model, its targets as a list of names, as PEFT stores them. */
export function adapterConfig(
  options: TrainOptions,
  base: PretrainedModel,
  task: Task,
): LoraConfig {
  const keys = Object.keys(loraConfigSchema.shape);
  const own = Object.entries(options).filter(([key]) => keys.includes(key));
  const given = loraConfig({ ...Object.fromEntries(own), taskType: task.type }, "options");
  const config = { ...given, modulesToSave: withNewParts(given, base) };
  checkRanks(findTargets(base.model, config, base.family), config);
  return { ...config, targetModules: targetNames(base, config) };
}

/** The modules to save, and new parts of the model that are not among them by themselves: random weights
 * that are neither trained nor stored would be others next time. */
function withNewParts(config: LoraConfig, { family, newParameters }: PretrainedModel) {
  const saved = modulesToSave(config);
  const parts = [...family.headModules, ...(family.optionalModules ?? [])].filter(
    (part) => newParameters.some((name) => isNamedIn(name, [part])) && !isSaved(part, saved),
  );
  // By their own names, as they are usually written: "pooler".
  const names = parts.map((part) => part.slice(part.lastIndexOf(".") + 1));
  return names.length === 0 ? config.modulesToSave : [...(config.modulesToSave ?? []), ...names];
}

/** Names of the targeted modules: their last parts where these mean the same modules, else whole paths. */
function targetNames({ model, family }: PretrainedModel, config: LoraConfig): string[] {
  const paths = [...findTargets(model, config, family).keys()];
  const names = [...new Set(paths.map((path) => path.slice(path.lastIndexOf(".") + 1)))].sort();
  const meant = findTargets(model, { ...config, targetModules: names }, family);
  return meant.size === paths.length ? names : paths;
}

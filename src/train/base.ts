/** @file A base model with its tokenizer, made ready for a task and an adapter. */
import { join } from "node:path";
import { existsSync } from "node:fs";
import { checkRanks, replaceModule } from "../lora/apply.ts";
import { loraConfig, loraConfigSchema, type LoraConfig } from "../lora/config.ts";
import { findTargets, isSaved, modulesToSave } from "../lora/targets.ts";
import { AutoModel, type PretrainedModel } from "../models/auto.ts";
import { Dropout } from "../nn/layers.ts";
import type { Module } from "../nn/module.ts";
import { makeEncoder, paddingToken } from "../tasks/encoder.ts";
import type { Encoder, Task } from "../tasks/task.ts";
import { loadTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import type { TrainOptions } from "./options.ts";

export interface Base extends PretrainedModel {
  readonly tokenizer: Tokenizer;
  readonly encoder: Encoder;
  readonly padTokenId: number;
}

export interface LoadBaseOptions {
  readonly directory: string;
  readonly task: Task;
  readonly maxLength?: number | undefined;
  /** Replace a head of another size. */
  readonly newHead?: boolean;
  /** A directory whose tokenizer.json comes first where it has one: the adapter's. */
  readonly tokenizerDirectory?: string;
}

/** Load model and tokenizer; weights are read when an engine needs them. Throws LowrankError. */
export async function loadBase(options: LoadBaseOptions): Promise<Base> {
  const { directory, task, maxLength, newHead = false } = options;
  const pretrained = await AutoModel.fromPretrained(directory, {
    task: task.type,
    config: task.modelConfig,
    newHead,
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
  };
}

/** Give every dropout of a model, before adapters are put in, another probability. */
export function setDropout(model: Module, probability: number): void {
  for (const [path, module] of model.namedModules()) {
    if (module instanceof Dropout) replaceModule(model, path, new Dropout(probability));
  }
}

/** The adapter's configuration for a model, its targets as a list of names, as PEFT stores them. */
export function adapterConfig(
  options: TrainOptions,
  base: PretrainedModel,
  task: Task,
): LoraConfig {
  const keys = Object.keys(loraConfigSchema.shape);
  const own = Object.entries(options).filter(([key]) => keys.includes(key));
  const given = loraConfig({ ...Object.fromEntries(own), taskType: task.type }, "options");
  const config = { ...given, modulesToSave: withNewHeads(given, base) };
  checkRanks(findTargets(base.model, config, base.family), config);
  return { ...config, targetModules: targetNames(base, config) };
}

/** The modules to save, and new parts of the model that are not among them by themselves: random weights
 * that are neither trained nor stored would be others next time. */
function withNewHeads(config: LoraConfig, { family, newParameters }: PretrainedModel) {
  const saved = modulesToSave(config);
  const heads = family.headModules.filter(
    (head) => newParameters.some((name) => name.startsWith(`${head}.`)) && !isSaved(head, saved),
  );
  return heads.length === 0 ? config.modulesToSave : [...(config.modulesToSave ?? []), ...heads];
}

/** Names of the targeted modules: their last parts where these mean the same modules, else whole paths. */
function targetNames({ model, family }: PretrainedModel, config: LoraConfig): string[] {
  const paths = [...findTargets(model, config, family).keys()];
  const names = [...new Set(paths.map((path) => path.slice(path.lastIndexOf(".") + 1)))].sort();
  const meant = findTargets(model, { ...config, targetModules: names }, family);
  return meant.size === paths.length ? names : paths;
}

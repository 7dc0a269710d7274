/** @file A base model with its tokenizer, made ready for a task and an adapter. */
import { join } from "node:path";
import { existsSync } from "node:fs";
import type { LoraConfig } from "../lora/config.ts";
import { isSaved, modulesToSave } from "../lora/targets.ts";
import { AutoModel, type PretrainedModel } from "../models/auto.ts";
import { makeEncoder, paddingToken } from "../tasks/encoder.ts";
import type { Encoder, Task } from "../tasks/task.ts";
import { loadTokenizer, type Tokenizer } from "../text/tokenizer.ts";

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

export const isNamedIn = (name: string, modules: readonly string[]): boolean =>
  modules.some((module) => name.startsWith(`${module}.`));

/** @file Training a LoRA adapter: the base stays as it is, and the adapter is stored in PEFT's format. */
import { resolve } from "node:path";
import { LowrankError } from "../../errors.ts";
import { sizeOf } from "../../graph/shape.ts";
import { requireFiniteResult } from "../../io/finite.ts";
import { applyLora, checkRanks } from "../../lora/apply.ts";
import { loraConfig, loraConfigSchema, type LoraConfig } from "../../lora/config.ts";
import { loraPlusRules } from "../../lora/lora-plus.ts";
import {
  adapterParameters,
  loadAdapterWeights,
  readAdapterConfig,
  saveAdapter,
} from "../../lora/peft-format.ts";
import {
  checkNames,
  findTargets,
  idleTargets,
  isSaved,
  modulesToSave,
  targetNames,
} from "../../lora/targets.ts";
import type { PretrainedModel } from "../../models/auto.ts";
import type { Module } from "../../nn/module.ts";
import { lastPart } from "../../nn/path.ts";
import type { Task } from "../../tasks/task.ts";
import { isNamedIn } from "../base.ts";
import { MANIFEST_FILE } from "../manifest.ts";
import type { TrainOptions } from "../options.ts";
import type { Method } from "./method.ts";

/** The keys of a task that the base needs in Python, for the card. */
function loadedWith({ modelConfig }: Task): string {
  const keys = Object.keys(modelConfig).map((key) => `\`${key}\``);
  if (keys.length === 0) return "";
  return `; load that with ${keys.join(", ")} of \`modelConfig\` in ${MANIFEST_FILE}`;
}

/** Put adapters into a model: new ones, or those of `options.adapter` with their weights. Throws LowrankError. */
export async function loraMethod(
  options: TrainOptions,
  base: PretrainedModel,
  task: Task,
): Promise<Method> {
  const { adapter } = options;
  const lora =
    adapter === undefined
      ? adapterConfig(options, base, task)
      : await storedConfig(adapter, base, task);
  const layers = applyLora(base.model, lora, base.family);
  const idle =
    adapter === undefined ? idleTargets(options.targetModules, [...layers.keys()]) : undefined;
  if (adapter !== undefined) await loadAdapterWeights(adapter, base.model, lora);
  const { loraPlusLrRatio: ratio, loraPlusLrEmbedding, learningRate } = options;
  const embeddingRatio = loraPlusLrEmbedding / learningRate;
  return {
    saves: "adapter",
    title: "A LoRA adapter",
    usage:
      "The weights are in PEFT's format. In Python, `PeftModel.from_pretrained(model, directory)` puts them on " +
      `the base model${loadedWith(task)}.`,
    tags: ["lora"],
    storedBytes: adapterBytes(base.model, lora),
    warnings: idle === undefined ? [] : [idle],
    ...(ratio === undefined ? {} : { rules: loraPlusRules(base.model, { ratio, embeddingRatio }) }),
    save: (directory, _, values) =>
      saveAdapter(directory, base.model, {
        lora,
        baseModel: resolve(options.model),
        values: async (path) => requireFiniteResult(path, await values(path)),
      }),
  };
}

/** The configuration of an adapter that is trained on. Throws LowrankError("config") for one of another task. */
async function storedConfig(
  directory: string,
  base: PretrainedModel,
  task: Task,
): Promise<LoraConfig> {
  const { lora } = await readAdapterConfig(directory);
  if (lora.taskType !== null && lora.taskType !== task.type) {
    throw new LowrankError(
      "config",
      `adapter: ${directory}: expected an adapter for ${task.type}, got one for ${lora.taskType}. Choose its task, or leave it out.`,
    );
  }
  return { ...lora, taskType: task.type, modulesToSave: withNewParts(lora, base) };
}

/** Size of the adapter's weights in a file. */
function adapterBytes(model: Module, lora: LoraConfig): number {
  let elements = 0;
  for (const { shape } of adapterParameters(model, lora).values()) elements += sizeOf(shape);
  return 4 * elements;
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
  const config = { ...given, modulesToSave: withNewParts(given, base) };
  const targets = findTargets(base.model, config, base.family);
  checkRanks(targets, config);
  checkNames(base.model, config, targets);
  return { ...config, targetModules: targetNames(base.model, config, base.family) };
}

/** The modules to save, and new parts of the model that are not among them by themselves: random weights
 * that are neither trained nor stored would be others next time. */
function withNewParts(config: LoraConfig, { family, newParameters }: PretrainedModel) {
  const saved = modulesToSave(config);
  const parts = [...family.headModules, ...(family.optionalModules ?? [])].filter(
    (part) => newParameters.some((name) => isNamedIn(name, [part])) && !isSaved(part, saved),
  );
  // By their own names, as they are usually written: "pooler".
  const names = parts.map(lastPart);
  return names.length === 0 ? config.modulesToSave : [...(config.modulesToSave ?? []), ...names];
}

/** @file Making a model a LoRA model: a transformation of its module tree. Everything else (heads,
 * tasks, training) is unaware of it. */
import { LowrankError } from "../errors.ts";
import type { ModelFamily, TaskType } from "../models/family.ts";
import { Embedding } from "../nn/layers.ts";
import { freeze, keepValues, type Module } from "../nn/module.ts";
import { rankAndScale, type LoraConfig } from "./config.ts";
import {
  isLoraLayer,
  LoraEmbedding,
  LoraLinear,
  type LoraLayer,
  type LoraLayerOptions,
} from "./layers.ts";
import { findTargets, type Adaptable } from "./targets.ts";

/** Names of the heads that PEFT trains and stores with every adapter for a task. */
const HEADS: Readonly<Record<TaskType, readonly string[]>> = {
  SEQ_CLS: ["classifier", "score"],
  TOKEN_CLS: ["classifier", "score"],
  QUESTION_ANS: ["qa_outputs"],
  CAUSAL_LM: [],
};

/**
 * Freeze a model, put a LoRA layer in the place of every targeted module, and make its parameters, the
 * modules to save and the chosen biases trainable. Changes the model; returns the LoRA layers by path.
 */
export function applyLora(
  model: Module,
  config: LoraConfig,
  family: Pick<ModelFamily, "loraTargets" | "headModules">,
): Map<string, LoraLayer> {
  const targets = findTargets(model, config, family);
  checkRanks(targets, config);
  freeze(model);
  const layers = new Map<string, LoraLayer>();
  for (const [path, base] of targets) {
    keepValues(base, path);
    const layer = loraLayer(base, layerOptions(config, path));
    replaceModule(model, path, layer);
    layers.set(path, layer);
  }
  unfreezeSaved(model, modulesToSave(config));
  unfreezeBiases(model, config.bias);
  return layers;
}

function layerOptions(config: LoraConfig, path: string): LoraLayerOptions {
  return {
    ...rankAndScale(config, path),
    dropout: config.loraDropout,
    useDora: config.useDora,
    init: config.initLoraWeights,
  };
}

function loraLayer(base: Adaptable, options: LoraLayerOptions): LoraLayer {
  if (!(base instanceof Embedding)) return new LoraLinear(base, options);
  if (options.useDora) {
    throw new LowrankError(
      "config",
      "use_dora: not implemented for embeddings. Take them out of target_modules.",
    );
  }
  return new LoraEmbedding(base, options);
}

/** A rank above the smaller side of a matrix only repeats what a lower one can express. */
function checkRanks(targets: ReadonlyMap<string, Adaptable>, config: LoraConfig): void {
  const problems: string[] = [];
  for (const [path, module] of targets) {
    const { r } = rankAndScale(config, path);
    const limit = Math.min(...module.weight.shape);
    if (r > limit)
      problems.push(`${path} [${module.weight.shape.join(", ")}]: r = ${r}, at most ${limit}`);
  }
  if (problems.length === 0) return;
  throw new LowrankError(
    "config",
    `r: larger than the layer for ${problems.slice(0, 5).join("; ")}` +
      `${problems.length > 5 ? ` and ${problems.length - 5} more` : ""}. Choose a smaller r, or another rank for these by rank_pattern.`,
  );
}

/** Modules that are trained and stored whole, the classification head included. */
export function modulesToSave(config: LoraConfig): string[] {
  const heads = config.taskType === null ? [] : HEADS[config.taskType];
  return [...new Set([...(config.modulesToSave ?? []), ...heads])];
}

/** Whether a module is one of those to save: its path ends in a name, also within a part of it, so that
 * "classifier" means "pre_classifier" too. */
export function isSavedModule(path: string, names: readonly string[]): boolean {
  return names.some((name) => path.endsWith(name));
}

function unfreezeSaved(model: Module, names: readonly string[]): void {
  for (const [path, module] of model.namedModules()) {
    if (path === "" || !isSavedModule(path, names)) continue;
    for (const parameter of module.namedParameters().values()) parameter.requiresGrad = true;
  }
}

function unfreezeBiases(model: Module, bias: LoraConfig["bias"]): void {
  for (const [path, parameter] of model.namedParameters()) {
    const isBias = path.endsWith("bias");
    const ofLayer = path.endsWith(".base_layer.bias");
    if ((bias === "all" && isBias) || (bias === "lora_only" && ofLayer))
      parameter.requiresGrad = true;
  }
}

/** Put a module at a path. */
export function replaceModule(root: Module, path: string, module: Module): void {
  const dot = path.lastIndexOf(".");
  const parent = dot === -1 ? root : root.getModule(path.slice(0, dot));
  parent.setChild(path.slice(dot + 1), module);
}

/** The LoRA layers of a model by path. */
export function loraLayers(model: Module): Map<string, LoraLayer> {
  const layers = new Map<string, LoraLayer>();
  for (const [path, module] of model.namedModules())
    if (isLoraLayer(module)) layers.set(path, module);
  return layers;
}

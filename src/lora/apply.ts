/** @file Making a model a LoRA model: a transformation of its module tree. Everything else (heads,
 * tasks, training) is unaware of it. */
import { LowrankError } from "../errors.ts";
import { listFirst } from "../format.ts";
import type { ModelFamily } from "../models/family.ts";
import { Embedding, Linear } from "../nn/layers.ts";
import { freeze, keepValues, type Module } from "../nn/module.ts";
import { Parameter } from "../nn/parameter.ts";
import { lastPart, parentOf } from "../nn/path.ts";
import { loraConfig, rankAndScale, type LoraConfig, type LoraOptions } from "./config.ts";
import {
  isLoraLayer,
  LoraEmbedding,
  LoraLinear,
  type LoraLayer,
  type LoraLayerOptions,
} from "./layers.ts";
import { isFromWeight } from "./initial.ts";
import { findTargets, isSaved, modulesToSave, type Adaptable } from "./targets.ts";
import { findTokenTargets, TiedTokens, TrainableTokens, type TokenTarget } from "./tokens.ts";

export { modulesToSave } from "./targets.ts";

/**
 * Freeze a model, put a LoRA layer in the place of every targeted module, and make its parameters, the
 * modules to save and the chosen biases trainable. Changes the model; returns the LoRA layers by path.
 * Options that are left out have loraConfig's defaults. `family` says what is adapted where no targets are named, and which
 * modules are heads; for models of one's own: `{ loraTargets: [], headModules: [] }`. Throws LowrankError("config").
 */
export function applyLora(
  model: Module,
  options: LoraOptions,
  family: Pick<ModelFamily, "loraTargets" | "headModules">,
): Map<string, LoraLayer> {
  const config = loraConfig(options);
  const targets = findTargets(model, config, family);
  const tokens = findTokenTargets([...model.namedModules()], config);
  checkCompatible(targets, tokens, config);
  freeze(model);
  const layers = new Map<string, LoraLayer>();
  for (const [path, base] of targets) {
    keepValues(base, path);
    const layer = loraLayer(base, config, path);
    replaceModule(model, path, layer);
    layers.set(path, layer);
  }
  for (const target of tokens) trainTokens(model, target);
  unfreezeSaved(model, modulesToSave(config));
  unfreezeBiases(model, config.bias);
  return layers;
}

/** The LoRA layer that a configuration puts around a module. */
export function loraLayer(base: Adaptable, config: LoraConfig, path: string): LoraLayer {
  const options: LoraLayerOptions = {
    ...rankAndScale(config, path),
    dropout: config.loraDropout,
    useDora: config.useDora,
    init: config.initLoraWeights,
  };
  return base instanceof Embedding
    ? new LoraEmbedding(base, options)
    : new LoraLinear(base, options);
}

/** What the options cannot mean for this model. Throws LowrankError("config"). */
function checkCompatible(
  targets: ReadonlyMap<string, Adaptable>,
  tokens: readonly TokenTarget[],
  config: LoraConfig,
): void {
  if (isFromWeight(config.initLoraWeights)) checkRanks(targets, config);
  const both = tokens.find(({ path, tied }) => [path, ...tied].some((name) => targets.has(name)));
  if (both) {
    throw new LowrankError(
      "config",
      `trainableTokenIndices: ${both.path} is adapted by targetModules as well. Name it in one of the two.`,
    );
  }
  if (!config.ensureWeightTying) return;
  const saved = modulesToSave(config);
  const shares = [...targets].find(
    ([path, module]) => module instanceof Embedding || isOutputHead(path),
  );
  const name = shares?.[0] ?? saved.find((entry) => /embed|wte|lm_head/.test(entry));
  if (name === undefined) return;
  throw new LowrankError(
    "config",
    `ensureWeightTying: not implemented for ${name}; it is for trainableTokenIndices. Leave it out: ` +
      "the adapter then changes one of the tied modules alone.",
  );
}

const isOutputHead = (path: string): boolean => /(?:^|\.)(?:lm_head|embed_out)$/.test(path);

/** Refuse ranks above the smaller side of a matrix: they only repeat what lower ones can express. Throws
 * LowrankError("config") that lists the layers. */
export function checkRanks(targets: ReadonlyMap<string, Adaptable>, config: LoraConfig): void {
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
    `r: larger than the layer for ${listFirst(problems, 5, "; ")}. Choose a smaller r, or another rank for these by rankPattern.`,
  );
}

function trainTokens(model: Module, { path, base, tokens, tied }: TokenTarget): void {
  keepValues(base, path);
  const adapter = new TrainableTokens(base, tokens);
  replaceModule(model, path, adapter);
  for (const other of tied) {
    const head = model.getModule(other);
    if (head instanceof Linear) replaceModule(model, other, new TiedTokens(head, adapter));
  }
}

/** Make the modules to save trainable. What they share with others, as an output head with the embedding, they
 * get for themselves: the others keep it as it is. */
function unfreezeSaved(model: Module, names: readonly string[]): void {
  const shared = sharedParameters(model);
  for (const [path, module] of model.namedModules()) {
    if (path === "" || !isSaved(path, names)) continue;
    for (const [name, parameter] of module.ownParameters()) {
      const first = shared.get(parameter);
      if (first !== undefined) {
        const { values, shape } = parameter;
        const own = new Parameter(shape, (context) => values({ ...context, name: first }));
        (module as unknown as Record<string, Parameter>)[name] = own;
      } else {
        parameter.requiresGrad = true;
      }
    }
  }
}

/** Parameters that several modules have, with their first path. */
function sharedParameters(model: Module): Map<Parameter, string> {
  const first = new Map<Parameter, string>();
  const shared = new Map<Parameter, string>();
  for (const [path, module] of model.namedModules()) {
    for (const [name, parameter] of module.ownParameters()) {
      const known = first.get(parameter);
      if (known === undefined) first.set(parameter, `${path}.${name}`);
      else shared.set(parameter, known);
    }
  }
  // Whoever keeps one gets its values by the path that they had.
  for (const [parameter, path] of shared) {
    const { values } = parameter;
    parameter.values = (context) => values({ ...context, name: path });
  }
  return shared;
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
  root.getModule(parentOf(path)).setChild(lastPart(path), module);
}

/** The LoRA layers of a model by path. */
export function loraLayers(model: Module): Map<string, LoraLayer> {
  const layers = new Map<string, LoraLayer>();
  for (const [path, module] of model.namedModules())
    if (isLoraLayer(module)) layers.set(path, module);
  return layers;
}

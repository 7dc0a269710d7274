/** @file Which modules a LoraConfig means, by PEFT's rules. */
import { LowrankError } from "../errors.ts";
import type { ModelFamily } from "../models/family.ts";
import { Conv1D, Embedding, Linear } from "../nn/layers.ts";
import type { Module } from "../nn/module.ts";
import type { LoraConfig } from "./config.ts";

export const ALL_LINEAR = "all-linear";

export type Adaptable = Linear | Conv1D | Embedding;

export function isAdaptable(module: Module): module is Adaptable {
  return module instanceof Linear || module instanceof Conv1D || module instanceof Embedding;
}

/** Paths of the modules to adapt, in the model's order. Throws LowrankError("config") when a target
 * cannot be adapted, or when there is none: the message lists names that exist. */
export function findTargets(
  model: Module,
  config: LoraConfig,
  family: Pick<ModelFamily, "loraTargets" | "headModules">,
): Map<string, Adaptable> {
  const wanted = config.targetModules ?? [...family.loraTargets];
  const targets = new Map<string, Adaptable>();
  for (const [path, module] of model.namedModules()) {
    if (path === "" || isExcluded(path, config)) continue;
    if (wanted === ALL_LINEAR) {
      const isLinear = module instanceof Linear || module instanceof Conv1D;
      if (isLinear && !isNamed(path, family.headModules)) targets.set(path, module);
    } else if (matches(wanted, path) && isInLayers(path, config)) {
      if (!isAdaptable(module)) {
        throw new LowrankError(
          "config",
          `target_modules: ${path} is a ${module.constructor.name}; Linear, Conv1D and Embedding can be adapted. Name those inside it.`,
        );
      }
      targets.set(path, module);
    }
  }
  if (targets.size === 0) throw noTargets(model, wanted, config);
  return targets;
}

function noTargets(model: Module, wanted: string | string[], config: LoraConfig): LowrankError {
  const names = [...model.namedModules()]
    .filter(([, module]) => isAdaptable(module))
    .map(([path]) => path.replace(/^.*\./, ""));
  const narrowed = config.excludeModules || config.layersToTransform !== null;
  return new LowrankError(
    "config",
    `target_modules: ${JSON.stringify(wanted)} matches no module of the model` +
      `${narrowed ? " (after exclude_modules and layers_to_transform)" : ""}. ` +
      `It has: ${[...new Set(names)].join(", ")}; or use "${ALL_LINEAR}".`,
  );
}

/** A list matches names equal to an entry or ending in ".entry"; a string is a regular expression for
 * the whole path. */
function matches(wanted: string | readonly string[], path: string): boolean {
  return typeof wanted === "string" ? regularExpression(wanted).test(path) : isNamed(path, wanted);
}

export function isNamed(path: string, names: readonly string[]): boolean {
  return names.some((name) => path === name || path.endsWith(`.${name}`));
}

function regularExpression(source: string): RegExp {
  try {
    return new RegExp(`^(?:${source})$`);
  } catch {
    throw new LowrankError(
      "config",
      `target_modules: ${JSON.stringify(source)} is not a regular expression.`,
    );
  }
}

function isExcluded(path: string, { excludeModules }: LoraConfig): boolean {
  return excludeModules !== null && matches(excludeModules, path);
}

function isInLayers(path: string, { layersToTransform, layersPattern }: LoraConfig): boolean {
  if (layersToTransform === null) return true;
  const patterns = layersPattern === null ? ["[^.]*"] : [layersPattern].flat();
  const layers = new Set([layersToTransform].flat());
  return patterns.some((name) => {
    const layer = new RegExp(`.*\\.${name}\\.(\\d+)\\.`).exec(path)?.[1];
    return layer !== undefined && layers.has(Number(layer));
  });
}

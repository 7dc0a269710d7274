/** @file Which modules a LoraConfig means, by PEFT's rules. Source: peft 0.21, check_target_module_exists and
 * _maybe_include_all_linear_layers. */
import { LowrankError } from "../errors.ts";
import type { ModelFamily, TaskType } from "../models/family.ts";
import { Conv1D, Embedding, Linear } from "../nn/layers.ts";
import type { Module } from "../nn/module.ts";
import { lastPart } from "../nn/path.ts";
import { matchesPattern, type LoraConfig } from "./config.ts";
import { pythonRegExp } from "./python-regexp.ts";
import { baseModules } from "./slot.ts";

const ALL_LINEAR = "all-linear";

export type Adaptable = Linear | Conv1D | Embedding;

function isAdaptable(module: Module): module is Adaptable {
  return module instanceof Linear || module instanceof Conv1D || module instanceof Embedding;
}

/** Names of the heads that PEFT trains and stores with every adapter for a task. */
const HEADS: Readonly<Record<TaskType, readonly string[]>> = {
  SEQ_CLS: ["classifier", "score"],
  TOKEN_CLS: ["classifier", "score"],
  QUESTION_ANS: ["qa_outputs"],
  CAUSAL_LM: [],
};

/** Modules that are trained and stored whole, the task's head included. */
export function modulesToSave(config: Pick<LoraConfig, "modulesToSave" | "taskType">): string[] {
  const heads = config.taskType === null ? [] : HEADS[config.taskType];
  return [...new Set([...(config.modulesToSave ?? []), ...heads])];
}

/** Whether a module is one of those to save: its path ends in a name, also within a part of it, so that
 * "classifier" means "pre_classifier" too. */
export function isSavedModule(path: string, names: readonly string[]): boolean {
  return names.some((name) => path.endsWith(name));
}

/** Whether a module is one of those to save, or within one. */
export function isSaved(path: string, names: readonly string[]): boolean {
  const parts = path.split(".");
  return parts.some((_, i) => isSavedModule(parts.slice(0, i + 1).join("."), names));
}

/** Paths of the modules to adapt, in the model's order. Throws LowrankError("config") when a target
 * cannot be adapted, or when there is none: the message lists names that exist. */
export function findTargets(
  model: Module,
  config: LoraConfig,
  family: Pick<ModelFamily, "loraTargets" | "headModules">,
): Map<string, Adaptable> {
  const wanted = config.targetModules ?? [...family.loraTargets];
  const allLinear = typeof wanted === "string" && wanted.toLowerCase() === ALL_LINEAR;
  const saved = modulesToSave(config);
  const targets = new Map<string, Adaptable>();
  const named: string[] = [];
  for (const [path, module] of baseModules(model)) {
    if (isAdaptable(module)) named.push(path);
    if (path === "" || isExcluded(path, config) || isSaved(path, saved)) continue;
    if (allLinear) {
      const isLinear = module instanceof Linear || module instanceof Conv1D;
      if (isLinear && !isNamed(path, family.headModules)) targets.set(path, module);
    } else if (matches(wanted, path, config)) {
      if (!isAdaptable(module)) {
        throw new LowrankError(
          "config",
          `targetModules: ${path} is a ${module.constructor.name}; Linear, Conv1D and Embedding can be adapted. Name those inside it.`,
        );
      }
      targets.set(path, module);
    }
  }
  if (targets.size === 0) throw noTargets(named, wanted, config);
  return targets;
}

/**
 * Refuse names and patterns, beside the targets, that mean no module: a misspelt one would do nothing. For new adapters only, since
 * PEFT passes over them and stored ones may have some. Throws LowrankError("config") that lists all.
 */
export function checkNames(
  model: Module,
  config: LoraConfig,
  targets: ReadonlyMap<string, Adaptable>,
): void {
  const all = [...baseModules(model)].map(([path]) => path).filter((path) => path !== "");
  const adapted = [...targets.keys()];
  const isExpression = typeof config.excludeModules === "string";
  const problems = [
    ...unmatched("modulesToSave", config.modulesToSave ?? [], (name) =>
      all.some((path) => isSavedModule(path, [name])),
    ),
    ...unmatched("excludeModules", [config.excludeModules ?? []].flat(), (name) =>
      all.some((path) => isExcluded(path, { excludeModules: isExpression ? name : [name] })),
    ),
    ...(["rankPattern", "alphaPattern"] as const).flatMap((option) =>
      unmatched(option, Object.keys(config[option]), (key) =>
        adapted.some((path) => matchesPattern(key, path)),
      ),
    ),
  ];
  if (problems.length === 0) return;
  throw new LowrankError(
    "config",
    `${problems.join("; ")}. Adapted are: ${lastNames(adapted)}. The model has: ${lastNames(all.filter((path) => !isNumbered(path)))}.`,
  );
}

/**
 * Names among the targets that adapt nothing, where others do: perhaps misspelt, perhaps of another model, since lists that fit
 * several are common. One line for all; undefined where every name means a module.
 */
export function idleTargets(
  wanted: LoraConfig["targetModules"],
  adapted: readonly string[],
): string | undefined {
  if (!Array.isArray(wanted)) return undefined;
  const idle = wanted.filter((name) => !adapted.some((path) => isNamed(path, [name])));
  if (idle.length === 0) return undefined;
  const names = idle.map((name) => JSON.stringify(name)).join(", ");
  const verb = idle.length === 1 ? "adapts" : "adapt";
  return `Of the target modules, ${names} ${verb} nothing. Adapted are: ${lastNames(adapted)}.`;
}

function unmatched(
  option: string,
  names: readonly string[],
  isMatched: (name: string) => boolean,
): string[] {
  const what = option.endsWith("Pattern") ? "adapted module" : "module";
  return names
    .filter((name) => !isMatched(name))
    .map((name) => `${option}: ${JSON.stringify(name)} matches no ${what}`);
}

/** The last parts of paths, once each; where that is a number, which alone says nothing, the whole path. */
function lastNames(paths: readonly string[]): string {
  const names = paths.map((path) => (isNumbered(path) ? path : lastPart(path)));
  return [...new Set(names)].join(", ");
}

const isNumbered = (path: string): boolean => /^\d+$/.test(lastPart(path));

/** Names of the targeted modules, sorted: their last parts where these mean the same modules, else whole paths. */
export function targetNames(
  model: Module,
  config: LoraConfig,
  family: Pick<ModelFamily, "loraTargets" | "headModules">,
): string[] {
  const paths = [...findTargets(model, config, family).keys()];
  const names = [...new Set(paths.map(lastPart))].sort();
  const meant = findTargets(model, { ...config, targetModules: names }, family);
  return meant.size === paths.length ? names : paths;
}

function noTargets(
  paths: readonly string[],
  wanted: string | string[],
  config: LoraConfig,
): LowrankError {
  const saved = paths.filter((path) => isSaved(path, modulesToSave(config)));
  const narrowing = [
    ...(config.excludeModules === null ? [] : ["excludeModules"]),
    ...(config.layersToTransform === null ? [] : ["layersToTransform"]),
  ].join(" and ");
  const wholly = saved.some((path) => matches(wanted, path, config));
  return new LowrankError(
    "config",
    `targetModules: ${JSON.stringify(wanted)} matches no module of the model` +
      `${narrowing === "" ? "" : ` (after ${narrowing})`}` +
      `${wholly ? " (but one that is trained whole, by modulesToSave or as the task's head)" : ""}. ` +
      `It has: ${lastNames(paths)}; or use "${ALL_LINEAR}".`,
  );
}

/** A string is a regular expression for the whole path. A list matches names equal to an entry, or ending in ".entry" and
 * then only in the layers to transform. */
function matches(wanted: string | readonly string[], path: string, config: LoraConfig): boolean {
  if (typeof wanted === "string") return fullMatch(wanted, path, "targetModules");
  return wanted.includes(path) || (isNamed(path, wanted) && isInLayers(path, config));
}

function isNamed(path: string, names: readonly string[]): boolean {
  return names.some((name) => path === name || path.endsWith(`.${name}`));
}

/** Names of modules as options give them: a list of names or ends of paths, or one regular expression for whole paths. */
export class ModulePatterns {
  readonly #wanted: string | readonly string[];
  readonly #where: string;

  /** @param where the option, for messages */
  constructor(wanted: string | readonly string[], where: string) {
    this.#wanted = wanted;
    this.#where = where;
  }

  /** As it was given. */
  get text(): string {
    return JSON.stringify(this.#wanted);
  }

  /** Whether a module's path is meant. */
  match(path: string): boolean {
    return typeof this.#wanted === "string"
      ? fullMatch(this.#wanted, path, this.#where)
      : isNamed(path, this.#wanted);
  }
}

function fullMatch(source: string, path: string, where: string): boolean {
  return pythonRegExp(source, "^(?:%)$", where).test(path);
}

function isExcluded(path: string, { excludeModules }: Pick<LoraConfig, "excludeModules">): boolean {
  if (excludeModules === null) return false;
  return typeof excludeModules === "string"
    ? fullMatch(excludeModules, path, "excludeModules")
    : isNamed(path, excludeModules);
}

/** The first number in a path counts: experts within a layer have numbers too. */
function isInLayers(path: string, { layersToTransform, layersPattern }: LoraConfig): boolean {
  if (layersToTransform === null) return true;
  const frames =
    layersPattern === null
      ? [/^.*?\.[^.]*\.(\d+)\./]
      : [layersPattern]
          .flat()
          .map((name) => pythonRegExp(name, String.raw`^(?:|.*?\.)%\.(\d+)\.`, "layersPattern"));
  const found = frames.map((frame) => frame.exec(path)).find((match) => match !== null);
  // A pattern may have groups of its own before the number's.
  const layer = found?.slice(1).at(-1);
  return layer !== undefined && [layersToTransform].flat().includes(Number(layer));
}

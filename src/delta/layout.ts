/** @file The configuration of an adapter that holds a change: targets, ranks, and where the tensors go that no matrix of low
 * rank covers. */
import type { LoraConfig } from "../lora/config.ts";
import { isSaved, modulesToSave, targetNames } from "../lora/targets.ts";
import type { PretrainedModel } from "../models/auto.ts";
import { lastPart, parentOf } from "../nn/path.ts";
import type { TensorChange } from "./changes.ts";
import type { Found } from "./collect.ts";

export interface Layout {
  readonly lora: LoraConfig;
  /** Changed tensors that are stored whole. */
  readonly whole: readonly { readonly name: string; readonly shape: readonly number[] }[];
  /** Changed tensors that an adapter has no place for. */
  readonly lost: readonly TensorChange[];
}

const isBias = ({ name }: TensorChange): boolean => name.endsWith("bias");

/** Targets with their ranks, each scaled by 1; `config` has the task and what is stored whole in any case. */
export function adapterLayout(
  base: Pick<PretrainedModel, "model" | "family">,
  { matrices, others }: Pick<Found, "matrices" | "others">,
  config: LoraConfig,
): Layout {
  const ranks = new Map(
    matrices.flatMap(({ paths, report }) => paths.map((path) => [path, report.rank])),
  );
  const saved = modulesToSave(config);
  const left = others.filter(({ name }) => !isSaved(parentOf(name), saved));
  const added = left.filter((tensor) => !isBias(tensor));
  const names = new Set<string>();
  const lost: TensorChange[] = [];
  for (const tensor of added) {
    const name = nameToSave(parentOf(tensor.name), [...ranks.keys()]);
    if (name === undefined) lost.push(tensor);
    else names.add(name);
  }
  const all = [...saved, ...names];
  const biases = left.filter((tensor) => isBias(tensor) && !isSaved(parentOf(tensor.name), all));
  const lora: LoraConfig = {
    ...config,
    ...rankKeys(ranks),
    modulesToSave:
      names.size === 0 ? config.modulesToSave : [...(config.modulesToSave ?? []), ...names],
    bias: biasOf(biases, ranks),
    targetModules: [...ranks.keys()],
  };
  return {
    lora: { ...lora, targetModules: targetNames(base.model, lora, base.family) },
    whole: others
      .filter((tensor) => !lost.includes(tensor))
      .map(({ name, shape }) => ({ name, shape })),
    lost,
  };
}

/** How modules_to_save names a module: by the last part of its path, or by all of it where the last part would mean a target;
 * undefined where it holds a target itself. */
function nameToSave(path: string, targets: readonly string[]): string | undefined {
  const short = lastPart(path);
  return [short, path].find(
    (name) => name !== "" && !targets.some((target) => isSaved(target, [name])),
  );
}

/** PEFT's smallest `bias` that stores the changed ones. */
function biasOf(
  biases: readonly TensorChange[],
  ranks: ReadonlyMap<string, number>,
): LoraConfig["bias"] {
  if (biases.length === 0) return "none";
  return biases.every(({ name }) => ranks.has(parentOf(name))) ? "lora_only" : "all";
}

/** The keys of a configuration in which each module has its rank, and is scaled by 1. */
export function rankKeys(
  ranks: ReadonlyMap<string, number>,
): Pick<LoraConfig, "r" | "loraAlpha" | "rankPattern" | "alphaPattern"> {
  const r = mostFrequent([...ranks.values()]);
  const pattern = Object.fromEntries([...ranks].filter(([, rank]) => rank !== r));
  return { r, loraAlpha: r, rankPattern: pattern, alphaPattern: pattern };
}

function mostFrequent(ranks: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const rank of ranks) counts.set(rank, (counts.get(rank) ?? 0) + 1);
  return [...counts].reduce((most, entry) => (entry[1] > most[1] ? entry : most))[0];
}

/** Paths, and those in a configuration, as a model without head has them: without the prefix of a model with one. */
export function withoutPrefix(prefix = ""): {
  path: (path: string) => string;
  config: (lora: LoraConfig) => LoraConfig;
} {
  const path = (own: string): string => (own.startsWith(prefix) ? own.slice(prefix.length) : own);
  const keys = (pattern: Readonly<Record<string, number>>): Record<string, number> =>
    Object.fromEntries(Object.entries(pattern).map(([key, value]) => [path(key), value]));
  return {
    path,
    config: (lora) => ({
      ...lora,
      rankPattern: keys(lora.rankPattern),
      alphaPattern: keys(lora.alphaPattern),
      targetModules: [lora.targetModules ?? []].flat().map(path),
      modulesToSave: lora.modulesToSave?.map(path) ?? null,
    }),
  };
}

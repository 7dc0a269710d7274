/** @file Adding to a set an adapter that is a weighted combination of others: which layers, of which rank. The arithmetic is in
 * combine.ts. Follows peft 0.21's add_weighted_adapter; unlike there the result is never rank-stabilized a second time. */
import { LowrankError } from "../errors.ts";
import { fromArray } from "../nn/init.ts";
import type { AdapterSet } from "./adapter-set.ts";
import {
  checkDensity,
  combine,
  COMBINATIONS,
  needsEqualRanks,
  type Change,
  type Combination,
  type CombineOptions,
} from "./combine.ts";
import { loraConfig, type LoraConfig } from "./config.ts";
import { readFactors, type ReadParameter } from "./host-merge.ts";
import { factorsOf, isLoraLayer, type LoraLayer } from "./layers.ts";
import { readerOf } from "./merge.ts";
import { adapterSlots, SavedModule, type AdapterSlot } from "./slot.ts";

export interface CombineAdapters extends Partial<CombineOptions> {
  /** Adapters and their parts in the sum, which may be negative. */
  readonly weights: Readonly<Record<string, number>>;
  /** Rank of the result of the ways that end in "svd"; default: the largest of the adapters'. */
  readonly rank?: number;
}

/** Add the adapter `name` to the set. Default combination: "svd". Throws LowrankError("config") for adapters that cannot be
 * combined: with DoRA or trained tokens, of different ranks where the way needs equal ones, or that store the same module. */
export async function combineAdapters(
  set: AdapterSet,
  name: string,
  options: CombineAdapters,
): Promise<void> {
  const { weights, majoritySign = "total", seed = 0 } = options;
  const names = Object.keys(weights);
  checkCombinable(set, names);
  checkWeights(weights);
  const combination = names.length === 1 ? "linear" : checkWay(options.combination ?? "svd");
  const density = checkDensity(combination, options.density);
  const rank = combinedRank(set, names, combination, options.rank);
  const sources = new Map(
    [...adapterSlots(set.model)]
      .map(([path, slot]) => [path, layersOf(slot, weights)] as const)
      .filter(([, layers]) => layers.length > 0),
  );
  const first = set.config(names[0]!);
  const saved = new Set(names.flatMap((other) => set.config(other).modulesToSave ?? []));
  set.add(name, {
    ...loraConfig({ taskType: first.taskType, loraDropout: first.loraDropout }),
    r: rank,
    loraAlpha: rank,
    targetModules: [...sources.keys()],
    modulesToSave: saved.size === 0 ? null : [...saved],
  });
  const read = readerOf(set.model)(0);
  for (const [path, slot] of adapterSlots(set.model)) {
    copySaved(slot, names, name);
    const part = slot.adapters.byName.get(name);
    if (!part || !isLoraLayer(part)) continue;
    const changes = await Promise.all(sources.get(path)!.map((source) => changeOf(source, read)));
    const made = combine(changes, rank, { combination, density, majoritySign, seed }, path);
    const [a, b] = factorsOf(part);
    a.values = fromArray(Float32Array.from(made.a.data));
    b.values = fromArray(Float32Array.from(made.b.data));
  }
}

/** Throws LowrankError("config") for weights that are no numbers. */
function checkWeights(weights: CombineAdapters["weights"]): void {
  const odd = Object.entries(weights).filter(([, weight]) => !Number.isFinite(weight));
  if (odd.length === 0) return;
  const listed = odd.map(([name, weight]) => `${name}: ${String(weight)}`).join(", ");
  throw new LowrankError("config", `combine: expected numbers as weights, got ${listed}.`);
}

/** Throws LowrankError("config") for a way that there is not. */
function checkWay(combination: Combination): Combination {
  if (COMBINATIONS.includes(combination)) return combination;
  throw new LowrankError(
    "config",
    `combine: expected one of ${COMBINATIONS.join(", ")} as combination, got ${JSON.stringify(combination)}.`,
  );
}

function checkCombinable(set: AdapterSet, names: readonly string[]): void {
  const problems: string[] = [];
  if (names.length === 0) problems.push("expected adapters with weights, got none");
  for (const name of names) {
    const { useDora, trainableTokenIndices } = set.config(name);
    if (useDora) problems.push(`${name} uses DoRA, whose changes do not add up`);
    if (trainableTokenIndices) problems.push(`${name} trains single tokens`);
  }
  for (const [path, { adapters }] of adapterSlots(set.model)) {
    const savers = names.filter((name) => adapters.byName.get(name) instanceof SavedModule);
    if (savers.length > 1) problems.push(`${savers.join(", ")} store ${path} whole, each its own`);
  }
  if (problems.length === 0) return;
  throw new LowrankError("config", `combine: ${problems.join("; ")}.`);
}

function combinedRank(
  set: AdapterSet,
  names: readonly string[],
  combination: Combination,
  asked: number | undefined,
): number {
  const ranks = names.map((name) => largestRank(set.config(name)));
  if (needsEqualRanks(combination) && new Set(ranks).size > 1) {
    const list = names.map((name, i) => `${name} ${ranks[i]}`).join(", ");
    throw new LowrankError(
      "config",
      `combine: ${combination} needs adapters of one rank, got ${list}. Use "cat" or "svd".`,
    );
  }
  if (combination === "cat") return ranks.reduce((sum, r) => sum + r, 0);
  return combination.endsWith("svd") ? (asked ?? Math.max(...ranks)) : ranks[0]!;
}

function largestRank({ r, rankPattern }: LoraConfig): number {
  return Math.max(r, ...Object.values(rankPattern));
}

/** The LoRA layers of some adapters in a slot, with the adapters' weights. */
function layersOf(
  slot: AdapterSlot,
  weights: Readonly<Record<string, number>>,
): [layer: LoraLayer, weight: number][] {
  return Object.entries(weights).flatMap(([name, weight]): [LoraLayer, number][] => {
    const part = slot.adapters.byName.get(name);
    return part && isLoraLayer(part) ? [[part, weight]] : [];
  });
}

async function changeOf(
  [layer, weight]: readonly [LoraLayer, number],
  read: ReadParameter,
): Promise<Change> {
  const [a, b] = await readFactors(layer, read);
  return { a, b, scale: layer.scale, weight };
}

/** Give the combined adapter the values of a module that one of its sources stores whole. */
function copySaved(slot: AdapterSlot, sources: readonly string[], target: string): void {
  const { byName } = slot.adapters;
  const source = sources
    .map((name) => byName.get(name))
    .find((part) => part instanceof SavedModule);
  const copy = byName.get(target);
  if (!source || !(copy instanceof SavedModule)) return;
  for (const [path, parameter] of copy.ownParameters()) {
    parameter.values = source.parameter(path)!.values;
  }
}

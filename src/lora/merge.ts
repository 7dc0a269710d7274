/** @file An adapter merged into its base: W + scale·B·A, normalised for DoRA, with the rows of trained tokens. As a graph, or
 * by exchanging the layers of a model for their bases with merged weights, which can be undone. */
import { LowrankError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import { findNonFinite } from "../io/float16.ts";
import { parameterValues } from "../nn/bind.ts";
import type { Values } from "../nn/init.ts";
import type { Module } from "../nn/module.ts";
import { Parameter } from "../nn/parameter.ts";
import { replaceModule } from "./apply.ts";
import { isMergeable, mergeInto, type Mergeable, type ReadParameter } from "./host-merge.ts";

/** A graph that computes the merged weight of every adapted layer, by the name of the base model's
 * weight, e.g. "transformer.h.0.attn.c_attn.weight". */
export function mergedWeights(model: Module): Graph {
  const outputs = mergeables(model).map(
    ([path, layer]) => [`${path}.weight`, layer.mergedWeight()] as const,
  );
  return { outputs: Object.fromEntries(outputs) };
}

function mergeables(model: Module): [path: string, layer: Mergeable][] {
  return [...model.namedModules()].filter((entry): entry is [string, Mergeable] =>
    isMergeable(entry[1]),
  );
}

export interface MergeOptions {
  /** Reads the adapter's and the base's current values; default: from where the model's parameters have theirs. After
   * training, read from the engine. */
  readonly read?: ReadParameter;
  /** Refuse weights that are not finite, instead of computing with them. */
  readonly safe?: boolean;
}

/** A merge that can be undone. */
export interface Merge {
  /** Names of the parameters whose values are other ones now: an engine has to be given them. */
  readonly changed: readonly string[];
  /** Put the adapter's layers back. The base's weights are the ones from before, bit for bit: they were kept. */
  unmerge(): void;
}

/** Put the base's layers, with the adapter merged into their weights, in the place of the adapter's. The values are computed when
 * an engine asks for them; with `safe` that throws LowrankError("checkpoint") for one that is not finite. */
export function mergeAdapter(model: Module, options: MergeOptions = {}): Merge {
  const { safe = false } = options;
  const reader = readerOf(model);
  const undo: (() => void)[] = [];
  const changed: string[] = [];
  for (const [path, layer] of mergeables(model)) {
    const base = layer.base_layer;
    const original = base.weight;
    const name = `${path}.weight`;
    const merged: Values = async ({ seed }) => {
      const read = options.read ?? reader(seed);
      const values = await read(original);
      await mergeInto(values, layer, read);
      return safe ? requireFinite(name, values) : values;
    };
    base.weight = frozen(original, merged);
    replaceModule(model, path, base);
    changed.push(...base.ownParameters().map(([own]) => `${path}.${own}`));
    undo.push(() => {
      base.weight = original;
      replaceModule(model, path, layer);
    });
  }
  return { changed, unmerge: () => undo.splice(0).forEach((step) => step()) };
}

/** A parameter of its own: the original may be shared with a module that is not merged. */
export function frozen(original: Parameter, values: Values): Parameter {
  const parameter = new Parameter(original.shape, values);
  parameter.requiresGrad = false;
  return parameter;
}

/** Reads values from where a model's parameters have them now, those that are made at random with a seed. */
export function readerOf(model: Module): (seed: number) => ReadParameter {
  const names = new Map([...model.namedParameters()].map(([name, own]) => [own, name]));
  return (seed) => (parameter) => parameterValues(names.get(parameter) ?? "", parameter, seed);
}

/** Throws LowrankError("checkpoint") for NaN and infinity. */
export function requireFinite(name: string, values: Float32Array): Float32Array {
  const index = findNonFinite(values);
  if (index === -1) return values;
  throw new LowrankError(
    "checkpoint",
    `${name}: expected finite numbers after merging, got ${values[index]} at element ${index}. ` +
      "The adapter, or the base model, is broken.",
  );
}

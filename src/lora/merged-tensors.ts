/** @file The tensors of a model with its adapter merged in, by the names that they have in the base model. */
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { joinPath } from "../nn/path.ts";
import { isMergeable, mergeInto, type Mergeable, type ReadParameter } from "./host-merge.ts";

export interface MergedTensor {
  /** In the base model, e.g. "transformer.h.0.attn.c_attn.weight". */
  readonly name: string;
  /** The base's parameter, or one that the adapter stores whole. */
  readonly parameter: Parameter;
  /** What is merged into it; absent where it is taken as it is. */
  readonly adapter?: Mergeable;
}

/** All tensors of the merged model, in the model's order. Where modules share a weight and still have the same, it is
 * listed once, for the first. */
export function mergedTensors(model: Module): MergedTensor[] {
  const result: MergedTensor[] = [];
  const seen = new Set<string>();
  const numbers = new Map<object, number>();
  const numberOf = (object: object | undefined): number => {
    if (object === undefined) return -1;
    if (!numbers.has(object)) numbers.set(object, numbers.size);
    return numbers.get(object)!;
  };
  for (const tensor of listTensors(model, "")) {
    const { parameter, adapter } = tensor;
    const isTokens = adapter && "adapter" in adapter;
    const identity = `${numberOf(parameter)} ${numberOf(isTokens ? adapter.adapter : adapter)}`;
    if (!seen.has(identity)) result.push(tensor);
    seen.add(identity);
  }
  return result;
}

function* listTensors(module: Module, path: string): Generator<MergedTensor> {
  const inside = (name: string): string => joinPath(path, name);
  if (isMergeable(module)) {
    for (const [name, parameter] of module.base_layer.ownParameters()) {
      yield {
        name: inside(name),
        parameter,
        ...(name === "weight" ? { adapter: module } : {}),
      };
    }
    return;
  }
  for (const [name, parameter] of module.ownParameters()) yield { name: inside(name), parameter };
  for (const [name, child] of module.children()) yield* listTensors(child, inside(name));
}

/** The values of a tensor of the merged model. */
export async function mergedValues(
  { parameter, adapter }: MergedTensor,
  read: ReadParameter,
): Promise<Float32Array> {
  const values = await read(parameter);
  if (adapter) await mergeInto(values, adapter, read);
  return values;
}

/** Names of modules that share a weight in the base model and no longer do when the adapter is merged: the merged model
 * has to store them apart. */
export function untiedTensors(
  base: ReadonlyMap<string, Parameter>,
  merged: readonly MergedTensor[],
): string[] {
  return merged.map(({ name }) => name).filter((name) => !base.has(name));
}

/** @file The weights of a model with its adapter merged in: W + scale·B·A, normalised for DoRA, with the rows of trained
 * tokens. */
import type { Graph } from "../graph/graph.ts";
import type { Module } from "../nn/module.ts";
import { isLoraLayer } from "./layers.ts";
import { TiedTokens, TrainableTokens } from "./tokens.ts";

/** A graph that computes the merged weight of every adapted layer, by the name of the base model's
 * weight, e.g. "transformer.h.0.attn.c_attn.weight". */
export function mergedWeights(model: Module): Graph {
  const outputs = [...model.namedModules()].flatMap(([path, module]) =>
    isLoraLayer(module) || module instanceof TrainableTokens || module instanceof TiedTokens
      ? [[`${path}.weight`, module.mergedWeight()] as const]
      : [],
  );
  return { outputs: Object.fromEntries(outputs) };
}

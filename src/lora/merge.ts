/** @file The weights of a model with its adapter merged in: W + scale·B·A, normalised for DoRA. */
import type { Graph } from "../graph/graph.ts";
import type { Module } from "../nn/module.ts";
import { loraLayers } from "./apply.ts";

/** A graph that computes the merged weight of every adapted layer, by the name of the base model's
 * weight, e.g. "transformer.h.0.attn.c_attn.weight". */
export function mergedWeights(model: Module): Graph {
  const outputs = [...loraLayers(model)].map(
    ([path, layer]) => [`${path}.weight`, layer.mergedWeight()] as const,
  );
  return { outputs: Object.fromEntries(outputs) };
}

/** @file Connecting a model with an engine: parameters get their values into its store under their
 * paths, and graphs read them from there. */
import { substitute, type Graph } from "../graph/graph.ts";
import { input } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import type { Engine } from "../runtime/engine.ts";
import type { Module } from "./module.ts";
import type { Parameter } from "./parameter.ts";

export interface LoadOptions {
  /** Seed of parameters that are initialised at random. */
  readonly seed: number;
  /** Which parameters; default all. */
  readonly filter?: (name: string, parameter: Parameter) => boolean;
}

/** Give an engine the values of a model's parameters. */
export async function loadParameters(
  engine: Engine,
  model: Module,
  { seed, filter = () => true }: LoadOptions,
): Promise<void> {
  for (const [name, parameter] of model.namedParameters()) {
    if (!filter(name, parameter)) continue;
    const { shape, dtype } = parameter;
    await engine.put(name, { dtype, shape, data: await parameter.values({ name, shape, seed }) });
  }
}

/** The graph with every parameter of a model as an input of its name. */
export function bindParameters(graph: Graph, model: Module): Graph {
  const inputs = new Map<Tensor, Tensor>();
  for (const [name, parameter] of model.namedParameters()) {
    inputs.set(parameter, input(name, parameter.dtype, parameter.shape));
  }
  return substitute(graph, inputs);
}

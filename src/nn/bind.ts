/** @file Connecting a model with an engine: parameters get their values into its store under their
 * paths, and graphs read them from there. */
import { LowrankError } from "../errors.ts";
import { findNonFinite } from "../io/float16.ts";
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

/** The values of a parameter. Throws LowrankError("checkpoint") when one is NaN or infinite: a model
 * with such a weight computes nothing else. */
export async function parameterValues(
  name: string,
  parameter: Parameter,
  seed: number,
  into?: Float32Array,
): Promise<Float32Array> {
  const { shape } = parameter;
  const values = await parameter.values({ name, shape, seed, ...(into ? { into } : {}) });
  const index = findNonFinite(values);
  if (index === -1) return values;
  throw new LowrankError(
    "checkpoint",
    `${name}: expected finite numbers as weights, got ${values[index]} at element ${index}. ` +
      "The checkpoint is damaged: download or save it again.",
  );
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
    await engine.put(name, { dtype, shape, data: await parameterValues(name, parameter, seed) });
  }
}

/** The graph with every parameter of a model as an input of its name: its path, or what `names` says. */
export function bindParameters(
  graph: Graph,
  model: Module,
  names?: ReadonlyMap<Parameter, string>,
): Graph {
  const inputs = new Map<Tensor, Tensor>();
  for (const [path, parameter] of model.namedParameters()) {
    const name = names?.get(parameter) ?? path;
    const { dtype, shape, requiresGrad } = parameter;
    inputs.set(parameter, input(name, dtype, shape, requiresGrad ? {} : { frozen: true }));
  }
  return substitute(graph, inputs);
}

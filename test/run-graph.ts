/** @file Running small graphs and modules in tests. */
import type { TypedArray } from "../src/graph/dtype.ts";
import type { Graph } from "../src/graph/graph.ts";
import { sizeOf, type Shape } from "../src/graph/shape.ts";
import { bindParameters, loadParameters } from "../src/nn/bind.ts";
import type { Module } from "../src/nn/module.ts";
import type { PassName } from "../src/passes/optimize.ts";
import { compile } from "../src/runtime/compile.ts";
import type { Engine } from "../src/runtime/engine.ts";
import type { HostTensor } from "../src/runtime/protocol.ts";

export function float32(shape: Shape, values: readonly number[]): HostTensor {
  return { dtype: "float32", shape, data: Float32Array.from(values) };
}

export function int32(shape: Shape, values: readonly number[]): HostTensor {
  return { dtype: "int32", shape, data: Int32Array.from(values) };
}

/** Values in (-1, 1) that differ from place to place and from `salt` to `salt`. */
export function spread(shape: Shape, salt = 0): HostTensor {
  const length = sizeOf(shape);
  const value = (_: unknown, i: number): number => (((i + 1) * 0.618 + salt * 0.327) % 1) * 2 - 1;
  return float32(shape, Array.from({ length }, value));
}

/** The values of a graph's outputs by name. */
export async function evaluate(
  engine: Engine,
  graph: Graph,
  feeds: Readonly<Record<string, HostTensor>> = {},
  passes?: readonly PassName[],
): Promise<Record<string, TypedArray>> {
  const program = await compile(engine, graph, passes ? { passes } : {});
  const { outputs } = await engine.run(program, { feeds, fetch: Object.keys(graph.outputs) });
  await engine.release(program);
  return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, data]));
}

/** The same for a graph over a module's parameters. */
export async function evaluateModule(
  engine: Engine,
  module: Module,
  graph: Graph,
  feeds: Readonly<Record<string, HostTensor>> = {},
): Promise<Record<string, TypedArray>> {
  await loadParameters(engine, module, { seed: 1 });
  return evaluate(engine, bindParameters(graph, module), feeds);
}

/** Largest difference between two vectors of numbers. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0);
}

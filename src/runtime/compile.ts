/** @file From a graph to a program of an engine: passes, ONNX, session. */
import type { Graph } from "../graph/graph.ts";
import { lower } from "../onnx/lower.ts";
import { provider } from "../onnx/providers.ts";
import { optimize, PASSES, type OptimizeOptions } from "../passes/optimize.ts";
import type { Engine, Program } from "./engine.ts";

export interface CompileOptions extends OptimizeOptions {
  /** Called with the optimized graph, before it is lowered. */
  readonly onGraph?: (graph: Graph) => void;
}

export async function compile(
  engine: Engine,
  graph: Graph,
  { passes = PASSES, onGraph, ...options }: CompileOptions = {},
): Promise<Program> {
  const target = provider(engine.device);
  const useful = target.cachesRows ? passes : passes.filter((pass) => pass !== "tile");
  const optimized = optimize(graph, { ...options, passes: useful, runs: target.runs });
  onGraph?.(optimized);
  const { allowFallback } = engine.options;
  return engine.compile(lower(optimized, { provider: target, allowFallback }));
}

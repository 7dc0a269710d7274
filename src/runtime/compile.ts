/** @file From a graph to a program of an engine: passes, ONNX, session. */
import type { Graph } from "../graph/graph.ts";
import { lower } from "../onnx/lower.ts";
import { optimize, type OptimizeOptions } from "../passes/optimize.ts";
import type { Engine, Program } from "./engine.ts";

export interface CompileOptions extends OptimizeOptions {
  /** Called with the optimized graph, before it is lowered. */
  readonly onGraph?: (graph: Graph) => void;
}

export async function compile(
  engine: Engine,
  graph: Graph,
  options: CompileOptions = {},
): Promise<Program> {
  const optimized = optimize(graph, options);
  options.onGraph?.(optimized);
  return engine.compile(lower(optimized, { contrib: engine.options.device !== "webgpu" }));
}

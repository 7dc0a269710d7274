/** @file From a graph to a program of an engine: passes, ONNX, session. */
import { BYTES } from "../graph/dtype.ts";
import { topologicalOrder, type Graph } from "../graph/graph.ts";
import { inputAttrs } from "../graph/leaves.ts";
import { sizeOf } from "../graph/shape.ts";
import { lower } from "../onnx/lower.ts";
import { provider } from "../onnx/providers.ts";
import { gemmOp, matmulOp } from "../ops/matmul.ts";
import { optimize, PASSES, type OptimizeOptions } from "../passes/optimize.ts";
import type { Engine, Program } from "./engine.ts";

export interface CompileOptions extends OptimizeOptions {
  /** Called with the optimized graph, before it is lowered. */
  readonly onGraph?: (graph: Graph) => void;
}

/** A graph as a program of an engine: optimized, lowered to ONNX, loaded. The weights of a model whose parameters the graph has
 * must be in the engine before (`loadParameters`): those of a small one become a part of the program. Throws LowrankError where
 * the device lacks an operator that the graph needs. */
export async function compile(
  engine: Engine,
  graph: Graph,
  { passes = PASSES, onGraph, ...options }: CompileOptions = {},
): Promise<Program> {
  const target = provider(engine.device);
  const useful = target.hasCaches
    ? passes
    : passes.filter((pass) => pass !== "tile" && pass !== "transpose-first");
  const optimized = optimize(graph, { ...options, passes: useful, runs: target.runs });
  onGraph?.(optimized);
  const { allowFallback } = engine.options;
  const weights = target.packsWeights ? weightsToPack(optimized) : new Set<string>();
  return engine.compile(lower(optimized, { provider: target, allowFallback, weights }));
}

/** Packed weights are copies in every program: worth it for small models, whose batches have few rows.
 * From about 1,000 rows on there is nothing to gain. */
const MAX_PACKED_BYTES = 2 ** 27;

/** The frozen matrices that products multiply by, unless they are large together. */
function weightsToPack(graph: Graph): Set<string> {
  const weights = new Map<string, number>();
  for (const { op, inputs } of topologicalOrder(Object.values(graph.outputs))) {
    if (op !== matmulOp && op !== gemmOp) continue;
    const attrs = inputAttrs(inputs[1]!.node);
    if (attrs?.frozen) weights.set(attrs.name, BYTES[attrs.dtype] * sizeOf(attrs.shape));
  }
  const total = [...weights.values()].reduce((sum, bytes) => sum + bytes, 0);
  return total <= MAX_PACKED_BYTES ? new Set(weights.keys()) : new Set();
}

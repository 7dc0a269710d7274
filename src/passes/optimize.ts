/**
 * @file The order of the passes. `optimize` takes a complete graph (gradients and optimizer included)
 * to what is lowered; the dead-rows pass (dead-rows.ts) runs before differentiation, so that gradients
 * profit from it. Dead code needs no pass: a graph is what its outputs reach.
 */
import { expandComposites } from "../autodiff/expand.ts";
import type { DType } from "../graph/dtype.ts";
import type { Graph } from "../graph/graph.ts";
import type { CompositeOp } from "../graph/op.ts";
import { cse } from "./cse.ts";
import { flatten } from "./flatten.ts";
import { fold } from "./fold.ts";
import { fuseGemm } from "./fuse.ts";
import { tile } from "./tile.ts";
import { transposeFirst } from "./transpose-first.ts";

export const PASSES = [
  "fold",
  "cse",
  "fuse",
  "flatten",
  "transpose-first",
  "tile",
  "dead-rows",
] as const;
export type PassName = (typeof PASSES)[number];

export interface OptimizeOptions {
  /** Default: all. What is left out changes speed, never results beyond rounding. */
  readonly passes?: readonly PassName[];
  /** Whether the target runs an ONNX operator: composites that need another are expanded. */
  readonly runs?: (operator: string, dtype: DType) => boolean;
  /** Called with the graph after each pass. */
  readonly afterPass?: (name: string, graph: Graph) => void;
}

export function optimize(graph: Graph, options: OptimizeOptions = {}): Graph {
  const { passes = PASSES, runs = () => true, afterPass = () => {} } = options;
  let current = graph;
  const run = (name: string, pass: (graph: Graph) => Graph): void => {
    current = pass(current);
    afterPass(name, current);
  };
  const enabled = (name: PassName): boolean => passes.includes(name);

  const isLowered = (op: CompositeOp): boolean =>
    enabled("fuse") && op.lower !== undefined && (!op.needs || runs(op.needs, "float32"));
  run("expand", (g) => expandComposites(g, ({ op }) => op.kind === "composite" && !isLowered(op)));
  // Folding brings scale factors together for the fusion, and the fusion leaves new ones behind.
  for (let round = 0; round < 2; round++) {
    if (enabled("fold")) run("fold", fold);
    if (enabled("cse")) run("cse", cse);
    if (enabled("fuse")) run("fuse", fuseGemm);
    if (enabled("flatten")) run("flatten", flatten);
  }
  if (enabled("fold")) run("fold", fold);
  if (enabled("transpose-first")) run("transpose-first", transposeFirst);
  if (enabled("cse")) run("cse", cse);
  if (enabled("tile")) run("tile", tile);
  return current;
}

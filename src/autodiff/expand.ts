/** @file Replacing composite ops by what they are defined as. */
import { rewrite, type Graph } from "../graph/graph.ts";
import type { Node } from "../graph/node.ts";

/** Expand every composite node that `select` chooses (default: all), and those inside it. */
export function expandComposites(
  graph: Graph,
  select: (node: Node) => boolean = (node) => node.op.kind === "composite",
): Graph {
  return rewrite(graph, (node) => {
    if (node.op.kind !== "composite" || !select(node)) return undefined;
    const parts = node.op.decompose(node.inputs, node.attrs);
    const inner = { outputs: Object.fromEntries(parts.map((part, i) => [String(i), part])) };
    const expanded = expandComposites(inner, select);
    return parts.map((_, i) => expanded.outputs[String(i)]!);
  });
}

/** @file Invariants of a graph, checked after each pass in tests: every node's types are those that
 * its op infers from its inputs, every tensor belongs to its node, input names are unique. */
import { LowrankError } from "../errors.ts";
import { topologicalOrder, type Graph } from "../graph/graph.ts";
import { inputAttrs } from "../graph/leaves.ts";
import { formatType } from "../graph/print.ts";
import type { Node } from "../graph/node.ts";
import { sameShape } from "../graph/shape.ts";

export function verify(graph: Graph, where = "graph"): Graph {
  const names = new Set<string>();
  for (const node of topologicalOrder(Object.values(graph.outputs))) {
    verifyNode(node, where);
    const name = inputAttrs(node)?.name;
    if (name === undefined) continue;
    if (names.has(name)) throw new LowrankError("graph", `${where}: two inputs are named ${name}.`);
    names.add(name);
  }
  return graph;
}

function verifyNode(node: Node, where: string): void {
  const types = node.op.infer(node.inputs, node.attrs);
  const fits =
    types.length === node.outputs.length &&
    node.outputs.every((output, index) => {
      const type = types[index]!;
      return (
        output.node === node &&
        output.index === index &&
        output.dtype === type.dtype &&
        sameShape(output.shape, type.shape)
      );
    });
  if (fits) return;
  throw new LowrankError(
    "graph",
    `${where}: ${node.op.name} infers ${types.map(formatType).join(", ")}, but has ` +
      `${node.outputs.map(formatType).join(", ")}.`,
  );
}

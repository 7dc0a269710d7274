/** @file Common subexpressions: nodes with the same op, attributes and inputs become one. */
import { rewrite, type Graph } from "../graph/graph.ts";
import { constantAttrs } from "../graph/leaves.ts";
import type { Node, Tensor } from "../graph/node.ts";
import type { Op } from "../graph/op.ts";

/** Constants above this are compared by identity: hashing them costs more than it saves. */
const MAX_HASHED_VALUES = 65_536;

export function cse(graph: Graph): Graph {
  const ids = new Map<object, number>();
  const idOf = (value: Op | Node): number => {
    const id = ids.get(value) ?? ids.size;
    ids.set(value, id);
    return id;
  };
  const canonical = new Map<string, readonly Tensor[]>();
  return rewrite(graph, (node) => {
    const inputs = node.inputs.map((tensor) => `${idOf(tensor.node)}.${tensor.index}`);
    const key = `${idOf(node.op)}(${inputs.join()})${attributesKey(node, idOf)}`;
    const known = canonical.get(key);
    if (!known) canonical.set(key, node.outputs);
    return known;
  });
}

function attributesKey(node: Node, idOf: (node: Node) => number): string {
  const constant = constantAttrs(node);
  if (!constant) return JSON.stringify(node.attrs);
  const { dtype, shape, values } = constant;
  return values.length > MAX_HASHED_VALUES ? `#${idOf(node)}` : `${dtype}[${shape}]${values}`;
}

/** @file A Graph is a set of named output tensors; everything else is found by walking from them. */
import { inputAttrs } from "./leaves.ts";
import { makeNode, type Node, type Tensor } from "./node.ts";

/** Named tensors, and all that they are computed from. */
export interface Graph {
  readonly outputs: Readonly<Record<string, Tensor>>;
}

/** All nodes behind `roots`, each after its inputs. The order depends on the graph alone. */
export function topologicalOrder(roots: Iterable<Tensor>): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  // An explicit stack: a deep model would overflow the JavaScript one.
  const stack: { node: Node; next: number }[] = [];
  const visit = (node: Node): void => {
    if (seen.has(node)) return;
    seen.add(node);
    stack.push({ node, next: 0 });
  };
  for (const root of roots) {
    visit(root.node);
    while (stack.length > 0) {
      const top = stack.at(-1)!;
      const child = top.node.inputs[top.next++];
      if (child) visit(child.node);
      else {
        order.push(top.node);
        stack.pop();
      }
    }
  }
  return order;
}

/** The input leaves of a graph by name. */
export function graphInputs(graph: Graph): Map<string, Tensor> {
  const inputs = new Map<string, Tensor>();
  for (const node of topologicalOrder(Object.values(graph.outputs))) {
    const attrs = inputAttrs(node);
    if (attrs) inputs.set(attrs.name, node.outputs[0]!);
  }
  return inputs;
}

/** How many nodes (and graph outputs) read each tensor. */
export function countUses(graph: Graph): Map<Tensor, number> {
  const uses = new Map<Tensor, number>();
  const use = (tensor: Tensor): void => void uses.set(tensor, (uses.get(tensor) ?? 0) + 1);
  for (const node of topologicalOrder(Object.values(graph.outputs))) node.inputs.forEach(use);
  Object.values(graph.outputs).forEach(use);
  return uses;
}

/** A rule of a rewrite: given a node with its inputs already rewritten, the tensors that replace its
 * outputs, or undefined to keep it. */
export type Rewrite = (node: Node, original: Node) => readonly Tensor[] | undefined;

/** Rebuild a graph bottom-up under a rule. Nodes that nothing changes are kept as they are. */
export function rewrite(graph: Graph, rule: Rewrite): Graph {
  const replaced = new Map<Node, readonly Tensor[]>();
  const current = (tensor: Tensor): Tensor => replaced.get(tensor.node)![tensor.index]!;
  for (const original of topologicalOrder(Object.values(graph.outputs))) {
    const inputs = original.inputs.map(current);
    const changed = inputs.some((tensor, index) => tensor !== original.inputs[index]);
    const node = changed
      ? makeNode(original.op, inputs, original.attrs, original.outputs)
      : original;
    replaced.set(original, rule(node, original) ?? node.outputs);
  }
  return mapOutputs(graph, current);
}

/** The same graph with `replacements` in place of the tensors they are keyed by. */
export function substitute(graph: Graph, replacements: ReadonlyMap<Tensor, Tensor>): Graph {
  return rewrite(graph, (node, original) => {
    if (!original.outputs.some((tensor) => replacements.has(tensor))) return undefined;
    return original.outputs.map(
      (tensor, index) => replacements.get(tensor) ?? node.outputs[index]!,
    );
  });
}

function mapOutputs(graph: Graph, map: (tensor: Tensor) => Tensor): Graph {
  return {
    outputs: Object.fromEntries(
      Object.entries(graph.outputs).map(([name, tensor]) => [name, map(tensor)]),
    ),
  };
}

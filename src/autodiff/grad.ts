/** @file Reverse-mode differentiation: one sweep from a scalar back to what it depends on. Knows no op
 * by name; rules come from the ops (`vjp`), composites without one are differentiated through their
 * decomposition. */
import { LowrankError } from "../errors.ts";
import { topologicalOrder } from "../graph/graph.ts";
import { scalar } from "../graph/leaves.ts";
import type { Node, Tensor } from "../graph/node.ts";
import { broadcastTo } from "../ops/movement.ts";
import { sizeOf } from "../graph/shape.ts";
import { add } from "../ops/elementwise.ts";
import { expandComposites } from "./expand.ts";

/**
 * Gradients of a scalar with respect to tensors, as tensors of the same graph.
 * Only what lies between `wrt` and `loss` is visited: nothing is computed below the first tensor that
 * wants a gradient, and none for frozen weights.
 *
 * Returns zeros for a tensor that the loss does not depend on. The returned loss is the one to use
 * with the gradients: it shares their forward computation.
 */
export function grad(
  loss: Tensor,
  wrt: readonly Tensor[],
): { loss: Tensor; gradients: readonly Tensor[] } {
  if (sizeOf(loss.shape) !== 1 || loss.dtype !== "float32") {
    throw new LowrankError("graph", "grad: the loss must be one float32 number.");
  }
  const root = expandComposites(
    { outputs: { loss } },
    (node) => node.op.kind === "composite" && node.op.vjp === undefined,
  ).outputs["loss"]!;

  const order = topologicalOrder([root]);
  const active = dependents(order, wrt);
  const cotangents = new Map<Tensor, Tensor>([[root, broadcastTo(scalar(1), root.shape)]]);
  for (const node of order.toReversed()) {
    if (!active.has(node) || node.op.kind === "leaf") continue;
    const incoming = node.outputs.map((output) => cotangents.get(output));
    if (incoming.every((cotangent) => cotangent === undefined)) continue;
    const outgoing = vjp(node, incoming);
    for (const [index, input] of node.inputs.entries()) {
      const cotangent = outgoing[index];
      if (!cotangent || !active.has(input.node)) continue;
      const sum = cotangents.get(input);
      cotangents.set(input, sum ? add(sum, cotangent) : cotangent);
    }
  }
  return { loss: root, gradients: wrt.map((tensor) => cotangents.get(tensor) ?? zero(tensor)) };
}

/** A tensor's zero gradient. */
function zero(tensor: Tensor): Tensor {
  return broadcastTo(scalar(0), tensor.shape);
}

/** The nodes of `order` that depend on one of `wrt`, the nodes of `wrt` included. */
function dependents(order: readonly Node[], wrt: readonly Tensor[]): Set<Node> {
  const active = new Set<Node>(wrt.map((tensor) => tensor.node));
  for (const node of order) {
    if (node.inputs.some((input) => active.has(input.node))) active.add(node);
  }
  return active;
}

function vjp(
  node: Node,
  cotangents: readonly (Tensor | undefined)[],
): readonly (Tensor | undefined)[] {
  const { op } = node;
  if (op.kind === "leaf" || op.vjp === undefined || op.vjp === "not differentiable") {
    return node.inputs.map(() => undefined);
  }
  return op.vjp(node, cotangents);
}

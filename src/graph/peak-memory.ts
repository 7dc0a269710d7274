/** @file How much memory a graph's intermediate tensors take: an estimate before anything is computed. */
import { BYTES } from "./dtype.ts";
import { countUses, topologicalOrder, type Graph } from "./graph.ts";
import type { Tensor } from "./node.ts";
import { sizeOf } from "./shape.ts";

/** Ops whose result is their input under another shape. */
const ALIASES = new Set(["reshape"]);

/**
 * The most bytes that tensors take together when a graph of static shapes runs node by node: each from the node that makes it
 * until the last one that reads it. Inputs and outputs are not counted: whoever runs the graph holds them.
 */
export function peakMemory(graph: Graph): number {
  const uses = countUses(graph);
  const outputs = new Set(Object.values(graph.outputs));
  /** The tensor that holds the values. */
  const owner = (tensor: Tensor): Tensor =>
    ALIASES.has(tensor.node.op.name) ? owner(tensor.node.inputs[0]!) : tensor;
  const readers = new Map<Tensor, number>();
  for (const [tensor, count] of uses) {
    const held = owner(tensor);
    readers.set(held, (readers.get(held) ?? 0) + count);
  }
  const bytes = (tensor: Tensor): number =>
    tensor.node.op.kind === "leaf" || outputs.has(tensor)
      ? 0
      : BYTES[tensor.dtype] * sizeOf(tensor.shape);
  let [held, peak] = [0, 0];
  for (const node of topologicalOrder(Object.values(graph.outputs))) {
    if (!ALIASES.has(node.op.name)) {
      for (const output of node.outputs) if (readers.has(output)) held += bytes(output);
    }
    peak = Math.max(peak, held);
    for (const input of node.inputs) {
      const tensor = owner(input);
      const left = readers.get(tensor)! - 1;
      readers.set(tensor, left);
      if (left === 0) held -= bytes(tensor);
    }
  }
  return peak;
}

/**
 * @file Symbolic values. A Tensor is one output of a Node; a Node is an op applied to tensors.
 * Both are immutable: a computation is the directed acyclic graph behind its outputs, and building
 * one touches nothing but fresh objects.
 */
import type { DType } from "./dtype.ts";
import type { Op } from "./op.ts";
import type { Shape } from "./shape.ts";

export interface TensorType {
  readonly dtype: DType;
  readonly shape: Shape;
}

export interface Node<A extends object = any> {
  readonly op: Op<A>;
  readonly inputs: readonly Tensor[];
  readonly attrs: A;
  readonly outputs: readonly Tensor[];
}

/** A symbolic tensor, an output of a node: it has a dtype and a shape, and no values. */
export interface Tensor extends TensorType {
  readonly node: Node;
  /** Which of the node's outputs this is. */
  readonly index: number;
}

/** Apply `op`: shapes and dtypes are checked here, as the graph is built. */
export function apply<A extends object>(
  op: Op<A>,
  inputs: readonly Tensor[],
  attrs: A,
): readonly Tensor[] {
  return makeNode(op, inputs, attrs, op.infer(inputs, attrs)).outputs;
}

/** `apply` for the usual op with one output. */
export function applyOne<A extends object>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor {
  return apply(op, inputs, attrs)[0]!;
}

/** A node whose output types are known already (leaves, rewrites). */
export function makeNode<A extends object>(
  op: Op<A>,
  inputs: readonly Tensor[],
  attrs: A,
  types: readonly TensorType[],
): Node {
  const outputs: Tensor[] = [];
  const node = { op: op as unknown as Op, inputs, attrs, outputs };
  for (const [index, { dtype, shape }] of types.entries()) {
    outputs.push({ node, index, dtype, shape });
  }
  return node;
}

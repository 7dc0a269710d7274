/**
 * @file Dead rows: when only some positions of a sequence are used (the last token's, or [CLS]), the
 * selection moves towards the inputs, through everything that works row by row. Of the last transformer
 * block only keys and values are then computed for all positions. Runs before differentiation.
 */
import { countUses, rewrite, topologicalOrder, type Graph } from "../graph/graph.ts";
import { makeNode, type Node, type Tensor } from "../graph/node.ts";
import { sizeOf, type Shape } from "../graph/shape.ts";
import {
  concatOp,
  sliceOp,
  slice,
  reshape,
  reshapeOp,
  splitOp,
  transposeOp,
} from "../ops/movement.ts";
import { takeRows, takeRowsOp } from "../ops/indexing.ts";
import { matmulOp, type MatmulAttrs } from "../ops/matmul.ts";
import { layerNormOp, logSoftmaxOp, softmaxOp } from "../ops/functional.ts";
import { rmsNormOp } from "../ops/rms-norm.ts";
import { rotateOp } from "../ops/rotary.ts";

/** A selection of positions along an axis: what to put in the place of a tensor. */
interface Selection {
  readonly axis: number;
  apply(tensor: Tensor, axis: number): Tensor;
}

export function deadRows(graph: Graph): Graph {
  const uses = countUses(graph);
  return rewrite(graph, (node) => {
    const selection = selectionOf(node);
    const moved = selection && move(node.inputs[0]!, selection, uses);
    return moved && [moved];
  });
}

/** A node that selects fewer positions than its input has. */
function selectionOf(node: Node): Selection | undefined {
  if (node.op === takeRowsOp) {
    const index = node.inputs[1]!;
    return { axis: node.attrs.axis, apply: (x, axis) => takeRows(x, index, axis) };
  }
  if (node.op === sliceOp) {
    const { axis, start, end } = node.attrs;
    return { axis, apply: (x, at) => slice(x, at, start, end) };
  }
  return undefined;
}

/**
 * The selected rows of `root`, computed from selected rows as far down as every reader of a tensor
 * needs no more than those; undefined where that is nowhere.
 */
function move(
  root: Tensor,
  selection: Selection,
  uses: ReadonlyMap<Tensor, number>,
): Tensor | undefined {
  const pushed = pushable(root, selection.axis, uses);
  if (pushed.size === 0) return undefined;
  const selected = new Map<Tensor, Tensor>();
  const select = (tensor: Tensor, axis: number): Tensor => {
    const known = selected.get(tensor);
    if (known) return known;
    const operands = pushed.get(tensor.node);
    const result = operands
      ? rebuild(
          tensor,
          axis,
          tensor.node.inputs.map((input, i) => {
            const own = operands[i];
            return own === undefined ? input : select(input, own);
          }),
        )
      : selection.apply(tensor, axis);
    selected.set(tensor, result);
    return result;
  };
  return select(root, selection.axis);
}

type OperandAxes = readonly (number | undefined)[];

/** The nodes that can work on selected rows only, with the axis of the selection in each input. */
function pushable(
  root: Tensor,
  axis: number,
  uses: ReadonlyMap<Tensor, number>,
): Map<Node, OperandAxes> {
  const pushed = new Map<Node, OperandAxes>();
  const demands = new Map<Tensor, { axis: number; count: number }>();
  const demand = (tensor: Tensor, at: number): void => {
    const known = demands.get(tensor);
    // Readers that select along different axes do not count together.
    if (known?.axis === at) known.count++;
    else if (!known) demands.set(tensor, { axis: at, count: 1 });
  };
  demand(root, axis);
  for (const node of topologicalOrder([root]).toReversed()) {
    const read = node.outputs.filter((output) => uses.has(output));
    const demanded = read.map((output) => demands.get(output));
    const at = demanded[0]?.axis;
    const isWhole = (i: number): boolean =>
      demanded[i]?.axis !== at || demanded[i]!.count < uses.get(read[i]!)!;
    if (at === undefined || read.some((_, i) => isWhole(i))) continue;
    const operands = operandAxes(node, at);
    if (!operands) continue;
    pushed.set(node, operands);
    for (const [i, own] of operands.entries()) if (own !== undefined) demand(node.inputs[i]!, own);
  }
  return pushed;
}

/** A node again, over selected rows. */
function rebuild(tensor: Tensor, axis: number, inputs: readonly Tensor[]): Tensor {
  const { op, attrs } = tensor.node;
  if (op === reshapeOp) {
    const [x] = inputs as [Tensor];
    const [own] = operandAxes(tensor.node, axis) as [number];
    return reshape(x, tensor.shape.with(axis, x.shape[own]!).with(0, x.shape[0]!));
  }
  const types = op.infer(inputs, attrs);
  return makeNode(op, inputs, attrs, types).outputs[tensor.index]!;
}

/** For each input, the axis along which to select (undefined: take it whole); or undefined. */
function operandAxes(node: Node, axis: number): OperandAxes | undefined {
  const { op, inputs, attrs } = node;
  const shape = node.outputs[0]!.shape;
  const last = shape.length - 1;
  if (op.elementwise) return elementwise(inputs, shape.length, axis);
  if (op === softmaxOp || op === logSoftmaxOp) return axis === last ? undefined : [axis];
  if (op === layerNormOp) return axis === last ? undefined : [axis, undefined, undefined];
  if (op === rmsNormOp) return axis === last ? undefined : [axis, undefined];
  if (op === rotateOp) return axis === 2 ? [2, 2, 2] : undefined;
  if (op === transposeOp) return [attrs.permutation[axis]];
  if (op === matmulOp) return matmulOperands(node, axis);
  if (op === reshapeOp) return reshapeOperand(inputs[0]!, shape, axis);
  if (op === sliceOp || op === splitOp || op === concatOp)
    return attrs.axis === axis ? undefined : inputs.map(() => axis);
  return undefined;
}

/** Broadcasting: an operand of size 1 along the axis (or without it) serves every row. */
function elementwise(inputs: readonly Tensor[], rank: number, axis: number) {
  return inputs.map(({ shape }) => {
    const own = axis - rank + shape.length;
    return own >= 0 && shape[own] !== 1 ? own : undefined;
  });
}

/** Rows of a·b are rows of a times b. */
function matmulOperands(node: Node, axis: number): OperandAxes | undefined {
  const { transposeA } = node.attrs as MatmulAttrs;
  const [a] = node.inputs as [Tensor];
  const rank = node.outputs[0]!.shape.length;
  if (a.shape.length !== rank) return undefined;
  if (axis === rank - 2) return [transposeA ? rank - 1 : rank - 2, undefined];
  return node.inputs[1]!.shape.length === 2 && axis < rank - 2 ? [axis, undefined] : undefined;
}

/** A reshape that leaves the axis and the number of elements before it alone: [B, T, C] ↔ [B, T, H, D],
 * [B, H, T, D] ↔ [B, K, G, T, D]. */
function reshapeOperand(x: Tensor, shape: Shape, axis: number): OperandAxes | undefined {
  const before = sizeOf(shape.slice(0, axis));
  const own = x.shape.findIndex(
    (dim, at) => at > 0 && dim === shape[axis] && sizeOf(x.shape.slice(0, at)) === before,
  );
  return own === -1 || x.shape[0] !== shape[0] ? undefined : [own];
}

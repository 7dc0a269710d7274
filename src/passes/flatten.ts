/**
 * @file Rows as a matrix: products of many rows by one matrix, and what works row by row between them,
 * are computed on [rows, C] instead of [B, T, C]. The reshapes that products need then meet and cancel,
 * and chains of row-wise ops become long enough to be tiled (tile.ts).
 */
import { rewrite, type Graph } from "../graph/graph.ts";
import { makeNode, type Node, type Tensor } from "../graph/node.ts";
import { sameShape, type Shape } from "../graph/shape.ts";
import { matmulOp, gemmOp } from "../ops/matmul.ts";
import { reshape, reshapeOp } from "../ops/movement.ts";
import { maxOp, meanOp, sumOp } from "../ops/reduce.ts";

export function flatten(graph: Graph): Graph {
  return rewrite(graph, (node) => {
    const flat = flattenProduct(node) ?? flattenRowwise(node);
    return flat?.map((output, i) => reshape(output, node.outputs[i]!.shape));
  });
}

/** x·W with x [..., K] and W a matrix. */
function flattenProduct(node: Node): readonly Tensor[] | undefined {
  const { op, inputs, attrs } = node;
  const [a, b, c] = inputs as [Tensor, Tensor, Tensor?];
  if ((op !== matmulOp && op !== gemmOp) || a.shape.length <= 2 || b.shape.length !== 2)
    return undefined;
  if (attrs.transposeA) return undefined;
  const matrix = reshape(a, [-1, a.shape.at(-1)!]);
  const { shape } = node.outputs[0]!;
  const addend = c && sameShape(c.shape, shape) ? reshape(c, [-1, shape.at(-1)!]) : c;
  return again(node, addend ? [matrix, b, addend] : [matrix, b]);
}

/** A row-wise node with an operand that was a matrix before it was reshaped. */
function flattenRowwise(node: Node): readonly Tensor[] | undefined {
  const { shape } = node.outputs[0]!;
  if (shape.length <= 2 || !isRowwise(node)) return undefined;
  const lead = shape.slice(0, -1);
  if (!node.inputs.some((input) => wasMatrix(input, lead))) return undefined;
  const operands = node.inputs.map((input) => flatOperand(input, lead));
  if (operands.includes(undefined)) return undefined;
  return again(node, operands as Tensor[]);
}

/** Whether each row of a node's outputs needs only the same row of its inputs. */
export function isRowwise(node: Node): boolean {
  const { op, inputs, attrs } = node;
  if (op.elementwise || op.rowwise) return true;
  if (op !== sumOp && op !== meanOp && op !== maxOp) return false;
  const { axes, keepDims } = attrs as { axes: readonly number[]; keepDims: boolean };
  return keepDims && axes.length === 1 && axes[0] === inputs[0]!.shape.length - 1;
}

function wasMatrix(tensor: Tensor, lead: Shape): boolean {
  const inner = tensor.node.inputs[0];
  return (
    tensor.node.op === reshapeOp &&
    inner?.shape.length === 2 &&
    sameShape(tensor.shape.slice(0, -1), lead)
  );
}

/** An operand with the same rows as a matrix, one without rows as it is; undefined when it has others. */
function flatOperand(tensor: Tensor, lead: Shape): Tensor | undefined {
  if (tensor.shape.length <= 1) return tensor;
  if (sameShape(tensor.shape.slice(0, -1), lead))
    return reshape(tensor, [-1, tensor.shape.at(-1)!]);
  const vector = tensor.shape.slice(0, -1).every((dim) => dim === 1);
  return vector ? reshape(tensor, [tensor.shape.at(-1)!]) : undefined;
}

/** The node over other inputs; a reduction's axis is the last one there too. */
function again({ op, attrs }: Node, inputs: readonly Tensor[]): readonly Tensor[] {
  const own = "axes" in attrs ? { ...attrs, axes: [1] } : attrs;
  return makeNode(op, inputs, own, op.infer(inputs, own)).outputs;
}

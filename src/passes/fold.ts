/** @file Constant folding and identities: arithmetic on scalar constants, factors of 1, nested scale
 * factors, reshapes and transposes that undo each other. */
import { rewrite, type Graph } from "../graph/graph.ts";
import { scalar, scalarValue } from "../graph/leaves.ts";
import type { Node, Tensor } from "../graph/node.ts";
import { sameShape } from "../graph/shape.ts";
import { addOp, divOp, mul, mulOp, negOp, stopGradientOp, subOp } from "../ops/elementwise.ts";
import { broadcastToOp, reshape, reshapeOp, transpose, transposeOp } from "../ops/movement.ts";

export function fold(graph: Graph): Graph {
  return rewrite(graph, (node) => {
    const folded = foldNode(node);
    return folded && [folded];
  });
}

function foldNode(node: Node): Tensor | undefined {
  return foldScalars(node) ?? foldIdentity(node) ?? foldScale(node) ?? foldMovement(node);
}

/** An elementwise op whose operands are all scalar constants. */
function foldScalars({ op, inputs, outputs }: Node): Tensor | undefined {
  if (op.kind !== "primitive" || !op.scalar || outputs[0]!.dtype !== "float32") return undefined;
  const values = inputs.map((tensor) =>
    tensor.shape.length === 0 ? scalarValue(tensor) : undefined,
  );
  if (values.includes(undefined)) return undefined;
  return scalar(op.scalar(...(values as number[])));
}

/** x·1, 1·x, x/1, x+0, 0+x, x-0, where the result has x's shape; stopGradient, which has done its
 * work once gradients exist. */
function foldIdentity({ op, inputs, outputs }: Node): Tensor | undefined {
  if (op === stopGradientOp) return inputs[0];
  const neutral = op === mulOp || op === divOp ? 1 : op === addOp || op === subOp ? 0 : undefined;
  if (neutral === undefined) return undefined;
  const [a, b] = inputs as [Tensor, Tensor];
  const keeps = (x: Tensor): boolean => sameShape(x.shape, outputs[0]!.shape);
  if (scalarValue(b) === neutral && keeps(a)) return a;
  const commutes = op === mulOp || op === addOp;
  return commutes && scalarValue(a) === neutral && keeps(b) ? b : undefined;
}

/** A tensor seen as factor · base, when it is a product with a scalar constant. */
export function scaleOf(tensor: Tensor): { base: Tensor; factor: number } | undefined {
  if (tensor.node.op !== mulOp || tensor.dtype !== "float32") return undefined;
  const [a, b] = tensor.node.inputs as [Tensor, Tensor];
  for (const [base, factor] of [
    [a, scalarValue(b)],
    [b, scalarValue(a)],
  ] as const) {
    if (factor !== undefined && sameShape(base.shape, tensor.shape)) return { base, factor };
  }
  return undefined;
}

/** c·(d·x) = (c·d)·x and -(c·x) = (-c)·x. */
function foldScale(node: Node): Tensor | undefined {
  const outer =
    node.op === negOp ? { base: node.inputs[0]!, factor: -1 } : scaleOf(node.outputs[0]!);
  const inner = outer && scaleOf(outer.base);
  return inner && mul(inner.base, outer.factor * inner.factor);
}

function foldMovement({ op, inputs, outputs, attrs }: Node): Tensor | undefined {
  const [x] = inputs as [Tensor];
  const inner = x?.node;
  if (op === reshapeOp) {
    if (sameShape(x.shape, outputs[0]!.shape)) return x;
    if (inner.op === reshapeOp) return reshape(inner.inputs[0]!, attrs.shape);
    const value = x.dtype === "float32" && attrs.shape.length === 0 ? scalarValue(x) : undefined;
    return value === undefined ? undefined : scalar(value);
  }
  if (op === broadcastToOp && sameShape(x.shape, outputs[0]!.shape)) return x;
  if (op === transposeOp) {
    const { permutation } = attrs as { permutation: readonly number[] };
    if (isIdentity(permutation)) return x;
    if (inner.op === transposeOp) {
      const first = inner.attrs.permutation as readonly number[];
      const both = permutation.map((axis) => first[axis]!);
      return isIdentity(both) ? inner.inputs[0]! : transpose(inner.inputs[0]!, both);
    }
  }
  return undefined;
}

function isIdentity(permutation: readonly number[]): boolean {
  return permutation.every((axis, i) => axis === i);
}

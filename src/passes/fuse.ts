/**
 * @file Products with something added or scaled become one Gemm: `x·A·s + (x·W + b)` is two nodes
 * instead of five. It serves forward passes, gradients and sums of gradients alike. A sum with scattered rows, an
 * embedding's gradient, adds them to the other term instead of to zeros.
 *
 * The other fusions (softmax, GELU, layer normalization and their gradients) need no patterns: models
 * are written with those operators (ops/functional.ts), which are lowered as they are instead of being
 * expanded.
 */
import { countUses, rewrite, type Graph } from "../graph/graph.ts";
import { scalarValue } from "../graph/leaves.ts";
import { applyOne, type Node, type Tensor } from "../graph/node.ts";
import { addOp, mulOp } from "../ops/elementwise.ts";
import { sameShape } from "../graph/shape.ts";
import { addRows, scatterAddRowsOp } from "../ops/indexing.ts";
import { gemmAccepts, gemmOp, matmulOp, type GemmAttrs } from "../ops/matmul.ts";
import { reshape, reshapeOp } from "../ops/movement.ts";
import { scaleOf } from "./fold.ts";

export function fuseGemm(graph: Graph): Graph {
  const uses = countUses(graph);
  return rewrite(graph, (node, original) => {
    /** The product behind an input that nothing else reads. */
    const product = (index: number): Gemm | undefined =>
      uses.get(original.inputs[index]!) === 1 ? asGemm(node.inputs[index]!) : undefined;
    const isReadOnce = (index: number): boolean => uses.get(original.inputs[index]!) === 1;
    const fused =
      fuseScaledOperand(node) ??
      fuseScale(node, product) ??
      fuseAdd(node, product) ??
      fuseAddRows(node, isReadOnce);
    return fused && [fused];
  });
}

interface Gemm {
  readonly a: Tensor;
  readonly b: Tensor;
  readonly attrs: GemmAttrs;
}

/** A product without anything added yet. */
function asGemm({ node }: Tensor): Gemm | undefined {
  const [a, b, c] = node.inputs as [Tensor, Tensor, Tensor?];
  if (node.op === matmulOp) return { a, b, attrs: { alpha: 1, ...node.attrs } };
  if (node.op === gemmOp && !c) return { a, b, attrs: node.attrs };
  return undefined;
}

function gemm({ a, b, attrs }: Gemm, alpha: number, c?: Tensor): Tensor {
  return applyOne(gemmOp, c ? [a, b, c] : [a, b], { ...attrs, alpha });
}

/** (s·a)·b = s·(a·b) */
function fuseScaledOperand(node: Node): Tensor | undefined {
  const product = node.op === matmulOp || node.op === gemmOp ? asGemm(node.outputs[0]!) : undefined;
  if (!product) return undefined;
  const [a, b] = [scaledOperand(product.a), scaledOperand(product.b)];
  if (!a && !b) return undefined;
  const operands = { ...product, a: a?.base ?? product.a, b: b?.base ?? product.b };
  return gemm(operands, product.attrs.alpha * (a?.factor ?? 1) * (b?.factor ?? 1));
}

/** factor · base, also where the product has been reshaped since. */
function scaledOperand(tensor: Tensor): ReturnType<typeof scaleOf> {
  if (tensor.node.op !== reshapeOp) return scaleOf(tensor);
  const inner = scaleOf(tensor.node.inputs[0]!);
  return inner && { base: reshape(inner.base, tensor.shape), factor: inner.factor };
}

type ProductOf = (index: number) => Gemm | undefined;

/** s·(a·b) */
function fuseScale(node: Node, productOf: ProductOf): Tensor | undefined {
  if (node.op !== mulOp) return undefined;
  for (const index of [0, 1]) {
    const factor = scalarValue(node.inputs[1 - index]!);
    const product = productOf(index);
    if (factor !== undefined && product && node.inputs[1 - index]!.shape.length === 0) {
      return gemm(product, product.attrs.alpha * factor);
    }
  }
  return undefined;
}

/** a·b + c. Of two products the one with the smaller inner dimension takes the other as its c: adding
 * while multiplying costs a pass over the result, which the cheap product has to make anyway. */
function fuseAdd(node: Node, productOf: ProductOf): Tensor | undefined {
  if (node.op !== addOp) return undefined;
  const candidates = [0, 1].flatMap((index) => {
    const product = productOf(index);
    const c = node.inputs[1 - index]!;
    return product && gemmAccepts(product.a, product.b, c, product.attrs) ? [{ product, c }] : [];
  });
  candidates.sort((x, y) => innerDimension(x.product) - innerDimension(y.product));
  const [best] = candidates;
  return best && gemm(best.product, best.product.attrs.alpha, best.c);
}

/** x + rows, which are zero but for some */
function fuseAddRows(node: Node, isReadOnce: (index: number) => boolean): Tensor | undefined {
  if (node.op !== addOp) return undefined;
  const index = [0, 1].find(
    (candidate) =>
      node.inputs[candidate]!.node.op === scatterAddRowsOp &&
      isReadOnce(candidate) &&
      sameShape(node.inputs[1 - candidate]!.shape, node.outputs[0]!.shape),
  );
  if (index === undefined) return undefined;
  const [updates, rows] = node.inputs[index]!.node.inputs as [Tensor, Tensor];
  return addRows(node.inputs[1 - index]!, updates, rows);
}

function innerDimension({ a, attrs }: Gemm): number {
  return a.shape.at(attrs.transposeA ? -2 : -1)!;
}

/**
 * @file A product aᵀ·b whose result has many columns gets its first operand transposed before: ONNX Runtime's matrix kernels
 * (MLAS) otherwise transpose it again for every 128 columns of the result. These are the gradients of weights, xᵀ·dy.
 */
import { resolveDimension } from "../graph/dynamic.ts";
import { rewrite, type Graph } from "../graph/graph.ts";
import { makeNode } from "../graph/node.ts";
import { gemmOp, matmulOp, type MatmulAttrs } from "../ops/matmul.ts";
import { transpose } from "../ops/movement.ts";

/** Columns of a result from which on a transposition of its own pays. */
const MIN_COLUMNS = 256;

export function transposeFirst(graph: Graph): Graph {
  return rewrite(graph, ({ op, inputs, attrs, outputs }) => {
    if (op !== matmulOp && op !== gemmOp) return undefined;
    const [a, ...others] = inputs;
    const columns = resolveDimension(outputs[0]!.shape.at(-1)!);
    if (!(attrs as MatmulAttrs).transposeA || a!.shape.length !== 2 || columns < MIN_COLUMNS)
      return undefined;
    const operands = [transpose(a!), ...others];
    const plain = { ...attrs, transposeA: false };
    return makeNode(op, operands, plain, op.infer(operands, plain)).outputs;
  });
}

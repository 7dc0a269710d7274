/** @file The readable text form of a graph: one line per node, for snapshots and `--dump-graph`. */
import { topologicalOrder, type Graph } from "./graph.ts";
import { constantAttrs, inputAttrs, scalarValue } from "./leaves.ts";
import type { Node, Tensor, TensorType } from "./node.ts";
import { formatShape, sizeOf } from "./shape.ts";

const MAX_CONSTANT_VALUES = 8;

/**
 * Text of a graph, e.g.
 *
 *     %2: float32[8, 16] = matmul(%x, %w) {"transposeB":true}
 *     return loss=%5
 */
export function printGraph(graph: Graph): string {
  const names = new Map<Tensor, string>();
  const lines: string[] = [];
  let counter = 0;
  for (const node of topologicalOrder(Object.values(graph.outputs))) {
    const scalar = scalarValue(node.outputs[0]!);
    if (scalar !== undefined && node.outputs[0]!.shape.length === 0) {
      names.set(node.outputs[0]!, formatNumber(scalar));
      continue;
    }
    for (const output of node.outputs) {
      names.set(output, `%${inputAttrs(node)?.name ?? counter++}`);
    }
    const results = node.outputs.map((output) => `${names.get(output)}: ${formatType(output)}`);
    lines.push(`${results.join(", ")} = ${formatCall(node, names)}`);
  }
  const returned = Object.entries(graph.outputs).map(([name, t]) => `${name}=${names.get(t)}`);
  return [...lines, `return ${returned.join(", ")}`, ""].join("\n");
}

function formatCall(node: Node, names: ReadonlyMap<Tensor, string>): string {
  if (inputAttrs(node)) return "input";
  const constant = constantAttrs(node);
  if (constant) {
    const { values, shape } = constant;
    const count = Math.min(values.length, MAX_CONSTANT_VALUES);
    const shown = Array.from({ length: count }, (_, i) => formatNumber(Number(values[i])));
    const more = sizeOf(shape) > MAX_CONSTANT_VALUES ? ", …" : "";
    return `constant [${shown.join(", ")}${more}]`;
  }
  const call = `${node.op.name}(${node.inputs.map((tensor) => names.get(tensor)).join(", ")})`;
  return Object.keys(node.attrs).length === 0 ? call : `${call} ${JSON.stringify(node.attrs)}`;
}

function formatNumber(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(9)));
}

export function formatType({ dtype, shape }: TensorType): string {
  return `${dtype}${formatShape(shape)}`;
}

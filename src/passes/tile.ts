/**
 * @file Tiling: a chain of row-wise ops over tensors larger than the processor's cache is computed in
 * pieces of rows that fit it, so that only what enters and leaves the chain travels through memory.
 * The numbers are the same: every row is computed as before.
 */
import { rewrite, topologicalOrder, type Graph, countUses } from "../graph/graph.ts";
import { makeNode, type Node, type Tensor } from "../graph/node.ts";
import { dynamicDimension, resolveDimension } from "../graph/dynamic.ts";
import { sizeOf } from "../graph/shape.ts";
import { concat, split } from "../ops/movement.ts";
import { isRowwise } from "./flatten.ts";

/** Tensors below this stay in a core's cache anyway. */
const MIN_TENSOR_BYTES = 2 ** 23;
/** What one piece of one tensor takes: several of them fit the second-level cache together. */
const TILE_BYTES = 3 * 2 ** 18;
/** Cutting and joining cost about two passes over memory. */
const MIN_CHAIN = 4;

interface Chain {
  readonly rows: number;
  readonly nodes: Set<Node>;
}

export function tile(graph: Graph): Graph {
  const order = topologicalOrder(Object.values(graph.outputs));
  if (!order.some((node) => bytesOf(node) >= MIN_TENSOR_BYTES && isTileable(node))) return graph;
  const chains = findChains(order).filter(
    ({ nodes }) =>
      [...nodes].filter((node) => bytesOf(node) >= MIN_TENSOR_BYTES).length >= MIN_CHAIN,
  );
  if (chains.length === 0) return graph;
  const chainOf = new Map<Node, Chain>();
  for (const chain of chains) for (const node of chain.nodes) chainOf.set(node, chain);
  const uses = countUses(graph);
  const outside = outsideReaders(order, chainOf, uses);
  // Nodes of a chain are rebuilt piece by piece as the walk reaches them; what leaves is joined. What
  // enters is cut once for each chain, since chains have different numbers of pieces.
  const pieces = new Map<Tensor, readonly Tensor[]>();
  const cuts = new Map(chains.map((chain) => [chain, new Map<Tensor, readonly Tensor[]>()]));
  const partsOf = new Map(chains.map((chain) => [chain, countParts(chain)]));
  return rewrite(graph, (node, original) => {
    const chain = chainOf.get(original);
    if (!chain) return undefined;
    const parts = partsOf.get(chain)!;
    const cut = cuts.get(chain)!;
    const operands = node.inputs.map((input, i) => {
      const source = original.inputs[i]!;
      const known = chainOf.get(source.node) === chain ? pieces.get(source) : cut.get(input);
      const own = known ?? cutRows(input, original.outputs[0]!.shape.length, chain.rows, parts);
      if (!known) cut.set(input, own);
      return own;
    });
    const results = Array.from({ length: parts }, (_, p) => {
      const inputs = operands.map((operand) => operand[p]!);
      return makeNode(node.op, inputs, node.attrs, node.op.infer(inputs, node.attrs)).outputs;
    });
    return original.outputs.map((output, i) => {
      pieces.set(
        output,
        results.map((outputs) => outputs[i]!),
      );
      // An output that stays inside is not joined: any stand-in does, since nothing reads it.
      return outside.has(output) ? concat(pieces.get(output)!, 0) : node.outputs[i]!;
    });
  });
}

/** Rows of the operand for each piece; one without rows serves all. */
function cutRows(tensor: Tensor, rank: number, rows: number, parts: number): readonly Tensor[] {
  const hasRows = tensor.shape.length === rank && tensor.shape[0] === rows;
  return hasRows ? split(tensor, parts, 0) : Array.from({ length: parts }, () => tensor);
}

/** Connected row-wise nodes with the same number of rows, such that no path leaves a chain and enters
 * it again (its pieces could not be ordered otherwise). */
function findChains(order: readonly Node[]): Chain[] {
  const chains: Chain[] = [];
  const chainOf = new Map<Node, Chain>();
  /** The chains that a node depends on, its own included. */
  const reach = new Map<Node, Set<Chain>>();
  for (const node of order) {
    const reached = new Set(node.inputs.flatMap((input) => [...reach.get(input.node)!]));
    reach.set(node, reached);
    if (!isTileable(node)) continue;
    const rows = node.outputs[0]!.shape[0]!;
    const joinable = node.inputs
      .map((input) => chainOf.get(input.node))
      .find(
        (chain) =>
          chain?.rows === rows &&
          node.inputs.every(
            (input) => chainOf.get(input.node) === chain || !reach.get(input.node)!.has(chain),
          ),
      );
    const chain = joinable ?? { rows, nodes: new Set() };
    if (!joinable) chains.push(chain);
    chain.nodes.add(node);
    chainOf.set(node, chain);
    reached.add(chain);
  }
  return chains;
}

function isTileable(node: Node): boolean {
  const { shape } = node.outputs[0]!;
  if (shape.length < 2 || node.op.kind === "leaf" || !isRowwise(node)) return false;
  const [rows] = shape;
  return (
    rows! > 1 && node.inputs.some((x) => x.shape.length === shape.length && x.shape[0] === rows)
  );
}

function bytesOf(node: Node): number {
  return 4 * sizeOf(node.outputs[0]!.shape.map((dim) => resolveDimension(dim)));
}

/** A divisor of the rows (whatever the dynamic length) that brings the largest tensor near TILE_BYTES. */
function countParts({ rows, nodes }: Chain): number {
  const wanted = Math.max(...[...nodes].map(bytesOf)) / TILE_BYTES;
  const { factor, offset } = dynamicDimension(rows) ?? { factor: rows, offset: 0 };
  let best = 1;
  for (let parts = 1; parts <= factor && parts <= 2 * wanted; parts++) {
    if (factor % parts === 0 && offset === 0 && Math.abs(parts - wanted) < Math.abs(best - wanted))
      best = parts;
  }
  return best;
}

/** Tensors of chains that something outside the chain reads, or that the graph returns. */
function outsideReaders(
  order: readonly Node[],
  chainOf: ReadonlyMap<Node, Chain>,
  uses: ReadonlyMap<Tensor, number>,
): Set<Tensor> {
  const inside = new Map<Tensor, number>();
  for (const node of order) {
    for (const input of node.inputs) {
      const chain = chainOf.get(input.node);
      if (chain && chain === chainOf.get(node)) inside.set(input, (inside.get(input) ?? 0) + 1);
    }
  }
  const result = new Set<Tensor>();
  for (const node of chainOf.keys()) {
    for (const output of node.outputs) {
      if ((uses.get(output) ?? 0) > (inside.get(output) ?? 0)) result.add(output);
    }
  }
  return result;
}

/** @file Each pass by itself: what it does to small graphs (as counts of nodes), and that nothing else changes.
 * That whole models keep their results is checked on the conformance fixtures. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluate, largestDifference, spread } from "../../test/run-graph.ts";
import { grad } from "../autodiff/grad.ts";
import { graphInputs, topologicalOrder, type Graph } from "../graph/graph.ts";
import { constant, input, scalar } from "../graph/leaves.ts";
import { makeNode, type Tensor } from "../graph/node.ts";
import { printGraph } from "../graph/print.ts";
import { add, addOp, div, mul, mulOp, neg, stopGradient, sub } from "../ops/elementwise.ts";
import { gelu } from "../ops/activations.ts";
import { layerNorm, linear, logSoftmax, softmax } from "../ops/functional.ts";
import { matmul, matmulOp } from "../ops/matmul.ts";
import { concat, reshape, slice, split, transpose } from "../ops/movement.ts";
import { sum } from "../ops/reduce.ts";
import { iota, takeRows } from "../ops/indexing.ts";
import { rmsNorm } from "../ops/rms-norm.ts";
import {
  causalPaddingBias,
  groupedQueryAttention,
  mergeHeads,
  splitHeads,
} from "../nn/attention.ts";
import { applyRotation, rotation } from "../nn/rotary.ts";
import { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { cse } from "./cse.ts";
import { deadRows } from "./dead-rows.ts";
import { flatten } from "./flatten.ts";
import { fold } from "./fold.ts";
import { fuseGemm } from "./fuse.ts";
import { optimize } from "./optimize.ts";
import { tile } from "./tile.ts";
import { transposeFirst } from "./transpose-first.ts";
import { verify } from "./verify.ts";

/** Roundings of sums of a dozen float32 products of order 1, in another order. */
const ROUNDING = 4e-6;

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

const x = input("x", "float32", [2, 3, 4]);
const w = input("w", "float32", [4, 5]);
const b = input("b", "float32", [5]);

/** How often each op occurs, inputs and constants aside. */
function ops(graph: Graph): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { op } of topologicalOrder(Object.values(graph.outputs))) {
    if (op.kind !== "leaf") counts[op.name] = (counts[op.name] ?? 0) + 1;
  }
  return counts;
}

/** The graph after a pass, which is well formed and computes the same. */
async function after(pass: (graph: Graph) => Graph, output: Tensor): Promise<Graph> {
  const graph = { outputs: { output } };
  const changed = verify(pass(graph));
  const feeds: Record<string, HostTensor> = {};
  for (const [i, [name, { dtype, shape }]] of [...graphInputs(graph)].entries()) {
    const values = spread(shape, i);
    feeds[name] =
      dtype === "float32"
        ? values
        : { dtype, shape, data: Int32Array.from({ length: values.data.length }, (_, j) => j % 2) };
  }
  const [before, result] = [
    await evaluate(engine, graph, feeds, []),
    await evaluate(engine, changed, feeds, []),
  ];
  const numbers = [before["output"], result["output"]] as Float32Array[];
  expect(largestDifference(numbers[0]!, numbers[1]!)).toBeLessThan(ROUNDING);
  return changed;
}

describe("fold", () => {
  test("arithmetic on constants, identities, nested factors", async () => {
    const two = mul(scalar(4), div(1, scalar(2)) as Tensor);
    const folded = await after(fold, mul(mul(add(mul(x, 1), 0), two), 3));
    expect(printGraph(folded)).toBe(
      "%x: float32[2, 3, 4] = input\n%0: float32[2, 3, 4] = mul(%x, 6)\nreturn output=%0\n",
    );
    expect(ops(await after(fold, neg(mul(x, 2))))).toEqual({ mul: 1 });
    expect(ops(await after(fold, sub(div(stopGradient(x), 1), 0)))).toEqual({});
  });

  test("a factor of 1 that changes the shape stays", async () => {
    const wide = mul(b, constant("float32", [2, 1], [1, 1]));
    expect(ops(await after(fold, wide))).toEqual({ mul: 1 });
  });

  test("movements that undo each other", async () => {
    const back = reshape(reshape(x, [6, 4]), [2, 3, 4]);
    const twice = transpose(transpose(back, [0, 2, 1]), [0, 2, 1]);
    expect(ops(await after(fold, add(twice, x)))).toEqual({ add: 1 });
    const cycle = transpose(transpose(x, [1, 2, 0]), [1, 2, 0]);
    expect(ops(await after(fold, cycle))).toEqual({ transpose: 1 });
  });
});

describe("cse", () => {
  test("equal nodes become one, other attributes stay apart", async () => {
    const doubled = add(mul(x, 2), mul(x, 2));
    expect(ops(await after(cse, doubled))).toEqual({ mul: 1, add: 1 });
    const apart = add(slice(x, 2, 0, 2), slice(x, 2, 2, 4));
    expect(ops(await after(cse, apart))).toEqual({ slice: 2, add: 1 });
    const parts = add(split(x, 2, 2)[0]!, split(x, 2, 2)[1]!);
    expect(ops(await after(cse, parts))).toEqual({ split: 1, add: 1 });
  });

  test("constants by value and type", () => {
    const graph = cse({
      outputs: {
        a: constant("float32", [2], [1, 2]),
        b: constant("float32", [2], [1, 2]),
        c: constant("float32", [2], [1, 3]),
        d: constant("int32", [2], [1, 2]),
      },
    });
    expect(graph.outputs["a"]).toBe(graph.outputs["b"]);
    expect(new Set(Object.values(graph.outputs)).size).toBe(3);
  });
});

describe("fuse", () => {
  test("a linear layer with an adapter is two products besides the adapter's first", async () => {
    const rows = reshape(x, [6, 4]);
    const [down, up] = [input("down", "float32", [2, 4]), input("up", "float32", [5, 2])];
    const change = mul(linear(linear(rows, down), up), 0.5);
    const fused = await after((g) => fold(fuseGemm(fold(g))), add(add(matmul(rows, w), b), change));
    expect(ops(fused)).toEqual({ reshape: 1, matmul: 1, gemm: 2 });
    const [last] = topologicalOrder(Object.values(fused.outputs)).slice(-1);
    expect(last!.attrs).toMatchObject({ alpha: 0.5, transposeB: true });
  });

  test("a factor goes into the product, through a reshape too", async () => {
    const scaled = matmul(reshape(mul(x, 3), [6, 4]), mul(w, 0.5));
    expect(ops(await after(fuseGemm, scaled))).toEqual({ reshape: 1, gemm: 1 });
  });

  test("a product that something else reads too is not taken in", async () => {
    const product = matmul(reshape(x, [6, 4]), w);
    const fused = await after(fuseGemm, add(sum(product), add(product, b)));
    expect(ops(fused)).toMatchObject({ matmul: 1, add: 2 });
  });

  test("operators with a lowering of their own are left whole, or expanded", () => {
    const graph = { outputs: { y: logSoftmax(gelu(x)) } };
    expect(ops(optimize(graph))).toEqual({ gelu: 1, logSoftmax: 1 });
    expect(ops(optimize(graph, { passes: [] }))).toMatchObject({ exp: 1, max: 1, erf: 1 });
    const lacking = optimize(graph, { runs: (operator) => operator !== "LogSoftmax" });
    expect(ops(lacking)).toMatchObject({ gelu: 1, max: 1, exp: 1, log: 1 });
  });
});

describe("flatten", () => {
  test("products and what is row-wise between them work on one matrix", async () => {
    const hidden = gelu(add(matmul(x, w), b));
    const output = matmul(hidden, input("w2", "float32", [5, 4]));
    const flat = await after((g) => fold(flatten(g)), output);
    expect(ops(flat)).toEqual({ reshape: 2, matmul: 2, add: 1, gelu: 1 });
    const shapes = topologicalOrder(Object.values(flat.outputs)).filter(
      ({ op }) => op === matmulOp,
    );
    expect(shapes.map(({ outputs }) => outputs[0]!.shape)).toEqual([
      [6, 5],
      [6, 4],
    ]);
  });

  test("what mixes rows keeps its shape", async () => {
    const scores = matmul(x, transpose(x, [0, 2, 1]));
    expect(ops(await after(flatten, scores))).toEqual({ transpose: 1, matmul: 1 });
  });
});

/** Rows of the results of all products. */
function rows(graph: Graph): number[] {
  return topologicalOrder(Object.values(graph.outputs)).flatMap(({ op, outputs }) =>
    op === matmulOp ? [outputs[0]!.shape.at(-2)!] : [],
  );
}

function weight(name: string, inner: number, columns: number): Tensor {
  return input(name, "float32", [inner, columns]);
}

/** One transformer block whose last position alone is read. */
function block(select: (hidden: Tensor) => Tensor): Tensor {
  const [q, k, v] = ["q", "k", "v"].map((name) => matmul(x, weight(name, 4, 4)));
  const attended = matmul(softmax(matmul(q!, k!, { transposeB: true })), v!);
  const norm = layerNorm(
    add(x, attended),
    input("g", "float32", [4]),
    input("h", "float32", [4]),
    1e-5,
  );
  return select(matmul(gelu(matmul(norm, weight("up", 4, 8))), weight("down", 8, 4)));
}

describe("dead rows", () => {
  const index = input("index", "int32", [2, 1]);

  test.each([
    ["a slice", (hidden: Tensor) => slice(hidden, 1, 2, 3)],
    ["rows that are fed", (hidden: Tensor) => takeRows(hidden, index, 1)],
  ])("of a block only keys and values see all positions: %s", async (_, select) => {
    const graph = await after(deadRows, block(select));
    expect(rows({ outputs: { all: block((hidden) => hidden) } })).toEqual([3, 3, 3, 3, 3, 3, 3]);
    // q, k, scores, v, attended, and the two of the MLP.
    expect(rows(graph)).toEqual([1, 3, 1, 3, 1, 1, 1]);
  });

  test("through parts that are cut and joined along another axis", async () => {
    const [a, gate] = split(matmul(x, weight("up", 4, 8)), 2, -1) as [Tensor, Tensor];
    const joined = concat([mul(a, gate), neg(gate)], -1);
    const output = slice(matmul(joined, weight("down", 8, 4)), 1, 0, 1);
    expect(rows(await after(deadRows, output))).toEqual([1, 1]);
    // One part is read whole, so that the product of both is.
    const whole = add(output, sum(gate));
    expect(rows(await after(deadRows, whole))).toEqual([3, 1]);
  });

  test.each([
    ["a slice", (hidden: Tensor) => slice(hidden, 1, 2, 3)],
    ["rows that are fed", (hidden: Tensor) => takeRows(hidden, index, 1)],
  ])("through norms, rotations and heads in groups: %s", async (_, select) => {
    const normed = rmsNorm(x, input("g", "float32", [4]), 1e-5);
    const q = splitHeads(matmul(normed, weight("q", 4, 8)), 4);
    const k = splitHeads(matmul(normed, weight("k", 4, 4)), 2);
    const turn = rotation(reshape(iota(3), [1, 3]), Float32Array.of(0.5));
    const bias = causalPaddingBias(input("mask", "int32", [2, 3]));
    const attended = groupedQueryAttention(applyRotation(q, turn), applyRotation(k, turn), k, {
      bias,
    });
    const output = select(matmul(mergeHeads(attended), weight("o", 8, 4)));
    // q, k, scores, attended, o.
    expect(rows(await after(deadRows, output))).toEqual([1, 3, 1, 1, 1]);
  });

  test("a tensor that is read whole elsewhere stays whole", async () => {
    const hidden = matmul(x, w);
    const output = add(slice(hidden, 1, 0, 1), sum(hidden));
    expect(rows(await after(deadRows, output))).toEqual([3]);
  });

  test("gradients get smaller with it", () => {
    const loss = sum(block((hidden) => slice(hidden, 1, 0, 1)));
    const weights = [...graphInputs({ outputs: { loss } }).values()].filter((t) => t !== x);
    const work = (root: Tensor): number => {
      const { gradients } = grad(root, weights);
      const outputs = Object.fromEntries(gradients.map((g, i) => [String(i), g]));
      return rows({ outputs }).reduce((a, c) => a + c, 0);
    };
    expect(work(deadRows({ outputs: { loss } }).outputs["loss"]!)).toBeLessThan(work(loss));
  });
});

/** Four row-wise ops. */
function chain(t: Tensor): Tensor {
  return mul(add(mul(add(t, 1), t), 0.5), t);
}

describe("tile", () => {
  // Large enough to be worth it: 8 MiB a tensor.
  const [ROWS, COLUMNS] = [4096, 512];
  const big = input("big", "float32", [ROWS, COLUMNS]);

  test("a chain over large tensors is computed piece by piece", async () => {
    const tiled = await after(tile, chain(big));
    const { split: splits, concat: joins, ...rest } = ops(tiled);
    expect([splits, joins]).toEqual([1, 1]);
    const pieces = rest["mul"]! / 2;
    expect(rest).toEqual({ add: 2 * pieces, mul: 2 * pieces });
    expect(ROWS % pieces).toBe(0);
    // 3/4 MiB a piece: 10 or 11 of them, by the divisors of 4096 that is 8 or 16.
    expect([8, 16]).toContain(pieces);
  });

  test("what leaves in the middle is joined, too", () => {
    const middle = mul(add(big, 1), big);
    const graph = { outputs: { middle, end: add(mul(add(middle, 2), middle), big) } };
    expect(ops(verify(tile(graph)))["concat"]).toBe(2);
  });

  test("small tensors and short chains stay", () => {
    const small = { outputs: { y: chain(x) } };
    expect(tile(small)).toBe(small);
    const short = { outputs: { y: add(mul(big, 2), 1) } };
    expect(tile(short)).toBe(short);
  });

  test("a path out of a chain and back in splits the chain", async () => {
    const first = chain(big);
    const total = reshape(sum(first), [1, 1]);
    const tiled = await after(tile, sum(chain(mul(first, total))));
    expect(ops(tiled)["concat"]).toBeGreaterThan(0);
  });
});

describe("transpose-first", () => {
  const [rows, wide] = [input("rows", "float32", [6, 3]), input("wide", "float32", [6, 256])];

  test("transposes the first operand of products with many columns", async () => {
    const turned = await after(transposeFirst, matmul(rows, wide, { transposeA: true }));
    expect(ops(turned)).toMatchObject({ transpose: 1, matmul: 1 });
    const product = Object.values(turned.outputs)[0]!.node;
    expect(product.attrs).toEqual({ transposeA: false, transposeB: false });
  });

  test("leaves the others alone", () => {
    const thin = { outputs: { y: matmul(wide, rows, { transposeA: true }) } };
    expect(transposeFirst(thin).outputs["y"]).toBe(thin.outputs.y);
    const plain = { outputs: { y: matmul(input("left", "float32", [3, 6]), wide) } };
    expect(transposeFirst(plain).outputs["y"]).toBe(plain.outputs.y);
  });
});

describe("verify", () => {
  test("finds types that do not follow from the inputs", () => {
    const [node] = [add(x, x).node];
    const wrong = makeNode(node.op, node.inputs, node.attrs, [{ dtype: "float32", shape: [7] }]);
    expect(() => verify({ outputs: { y: wrong.outputs[0]! } }, "after x")).toThrow(
      "after x: add infers float32[2, 3, 4], but has float32[7].",
    );
  });

  test("finds two inputs of one name", () => {
    const twin = input("x", "float32", [2, 3, 4]);
    expect(() => verify({ outputs: { y: add(x, twin) } })).toThrow("two inputs are named x.");
  });

  test("holds after every pass", () => {
    const seen: string[] = [];
    const loss = sum(gelu(add(matmul(mul(x, 2), w), b)));
    const { gradients } = grad(loss, [w, b]);
    optimize(
      { outputs: { loss, dw: gradients[0]!, db: gradients[1]! } },
      { afterPass: (name, graph) => seen.push(verify(graph, name) && name) },
    );
    const round = ["fold", "cse", "fuse", "flatten"];
    expect(seen).toEqual(["expand", ...round, ...round, "fold", "transpose-first", "cse", "tile"]);
  });
});

test("ops of one name are one object", () => {
  expect([add(x, x).node.op, mul(x, x).node.op]).toEqual([addOp, mulOp]);
});

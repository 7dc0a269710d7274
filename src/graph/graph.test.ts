import { describe, expect, test } from "vitest";
import { add, addOp, exp, mul } from "../ops/elementwise.ts";
import { matmul } from "../ops/matmul.ts";
import { concat, reshape, slice, split, transpose } from "../ops/movement.ts";
import { gather } from "../ops/indexing.ts";
import { sum } from "../ops/reduce.ts";
import { linear } from "../ops/functional.ts";
import { countUses, graphInputs, rewrite, substitute, topologicalOrder } from "./graph.ts";
import { constant, input, scalar } from "./leaves.ts";
import { printGraph } from "./print.ts";

const x = input("x", "float32", [2, 3]);
const y = input("y", "float32", [2, 3]);
const ids = input("ids", "int32", [4]);

describe("shapes are checked as a graph is built", () => {
  test("of inputs", () => {
    expect(() => input("z", "float32", [2, -1])).toThrow(
      "input z: expected a shape of whole numbers, got [2,-1].",
    );
    expect(() => input("z", "float64" as never, [2])).toThrow(
      "input z: expected a dtype of float32, int32, int64, bool, got float64.",
    );
  });

  test.each([
    ["add", () => add(x, input("z", "float32", [2, 4]))],
    ["add, another type", () => add(x, input("z", "int32", [2, 3]))],
    ["matmul", () => matmul(x, y)],
    ["matmul, transposed", () => matmul(x, y, { transposeA: true, transposeB: true })],
    ["matmul, a vector", () => matmul(x, input("v", "float32", [3]))],
    ["matmul, integers", () => matmul(ids, ids)],
    ["reshape", () => reshape(x, [4, 2])],
    ["transpose", () => transpose(x, [0, 0])],
    ["slice", () => slice(x, 1, 2, 5)],
    ["split", () => split(x, 2, 1)],
    ["concat", () => concat([x, input("z", "float32", [3, 3])], 1)],
    ["sum", () => sum(x, { axes: [2] })],
    ["gather", () => gather(x, y)],
    ["constant", () => constant("float32", [2, 2], [1, 2, 3])],
  ])("%s", (_, build) => {
    expect(build).toThrowErrorMatchingSnapshot();
  });
});

describe("walking", () => {
  test("each node comes after its inputs, once", () => {
    const a = mul(x, y);
    const b = add(a, a);
    const c = add(b, a);
    const order = topologicalOrder([c, b]);
    expect(order).toEqual([x.node, y.node, a.node, b.node, c.node]);
    expect(new Set(order).size).toBe(order.length);
  });

  test("a chain of 100,000 nodes does not overflow the stack", () => {
    let deep = x;
    for (let i = 0; i < 100_000; i++) deep = add(deep, y);
    expect(topologicalOrder([deep])).toHaveLength(100_002);
  });

  test("inputs by name, and uses", () => {
    const graph = { outputs: { a: add(mul(x, y), x), b: x } };
    expect([...graphInputs(graph).keys()]).toEqual(["x", "y"]);
    const uses = countUses(graph);
    expect([uses.get(x), uses.get(y), uses.get(graph.outputs.a)]).toEqual([3, 1, 1]);
  });
});

describe("rewriting", () => {
  test("replaces bottom-up and keeps what does not change", () => {
    const kept = exp(y);
    const graph = { outputs: { out: mul(add(add(x, x), x), kept) } };
    const doubled = rewrite(graph, (node) =>
      node.op === addOp ? [mul(node.inputs[0]!, 2)] : undefined,
    );
    expect(printGraph(doubled)).toBe(
      [
        "%x: float32[2, 3] = input",
        "%0: float32[2, 3] = mul(%x, 2)",
        "%1: float32[2, 3] = mul(%0, 2)",
        "%y: float32[2, 3] = input",
        "%2: float32[2, 3] = exp(%y)",
        "%3: float32[2, 3] = mul(%1, %2)",
        "return out=%3",
        "",
      ].join("\n"),
    );
    expect(doubled.outputs["out"]!.node.inputs[1]).toBe(kept);
    expect(rewrite(graph, () => undefined).outputs["out"]).toBe(graph.outputs.out);
  });

  test("substitutes tensors, the other outputs of their nodes staying", () => {
    const [left, right] = split(input("z", "float32", [2, 6]), 2, 1) as [typeof x, typeof x];
    const graph = { outputs: { sum: add(left, right), right } };
    const replaced = substitute(graph, new Map([[left, x]]));
    expect(replaced.outputs["sum"]!.node.inputs).toEqual([x, right]);
    expect(replaced.outputs["right"]).toBe(right);
  });
});

test("a graph as text", () => {
  const table = constant(
    "float32",
    [4, 3],
    Float32Array.from({ length: 12 }, (_, i) => i / 7),
  );
  const weight = input("weight", "float32", [5, 3]);
  const hidden = linear(gather(table, ids), weight);
  const [first, second] = split(hidden, 5, 1);
  const graph = {
    outputs: { y: add(mul(first!, 0.1), second!), ids, one: scalar(1), flag: mul(hidden, 3) },
  };
  expect(printGraph(graph)).toMatchInlineSnapshot(`
    "%0: float32[4, 3] = constant [0, 0.142857149, 0.285714298, 0.428571433, 0.571428597, 0.714285731, 0.857142866, 1, …]
    %ids: int32[4] = input
    %1: float32[4, 3] = gather(%0, %ids)
    %weight: float32[5, 3] = input
    %2: float32[4, 5] = matmul(%1, %weight) {"transposeA":false,"transposeB":true}
    %3: float32[4, 1], %4: float32[4, 1], %5: float32[4, 1], %6: float32[4, 1], %7: float32[4, 1] = split(%2) {"axis":1,"parts":5}
    %8: float32[4, 1] = mul(%3, 0.100000001)
    %9: float32[4, 1] = add(%8, %4)
    %10: float32[4, 5] = mul(%2, 3)
    return y=%9, ids=%ids, one=1, flag=%10
    "
  `);
});

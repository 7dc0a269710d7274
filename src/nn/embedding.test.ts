import { afterAll, beforeAll, expect, test } from "vitest";
import { evaluate, float32, int32 } from "../../test/run-graph.ts";
import { grad } from "../autodiff/grad.ts";
import { input } from "../graph/leaves.ts";
import { mul } from "../ops/elementwise.ts";
import { sum } from "../ops/reduce.ts";
import { Engine } from "../runtime/engine.ts";
import { bindParameters } from "./bind.ts";
import { Embedding } from "./layers.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

test("an embedding's padding row gets no gradient, repeated rows the sum", async () => {
  const embedding = new Embedding(4, 2, { paddingIdx: 1 });
  const factors = input("factors", "float32", [2, 3, 2]);
  const rows = embedding.forward(input("ids", "int32", [2, 3]));
  const { gradients } = grad(sum(mul(rows, factors)), [embedding.weight]);
  const graph = bindParameters({ outputs: { gradient: gradients[0]! } }, embedding);
  const { gradient } = await evaluate(engine, graph, {
    ids: int32([2, 3], [0, 1, 3, 0, 1, 1]),
    factors: float32([2, 3, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
  });
  expect([...gradient!]).toEqual([8, 10, 0, 0, 0, 0, 5, 6]);
});

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluate, float32, int32, largestDifference, spread } from "../../test/run-graph.ts";
import { input } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import { broadcastTo, reshape } from "../ops/movement.ts";
import { Engine } from "../runtime/engine.ts";
import {
  causalPaddingBias,
  groupedQueryAttention,
  localPaddingBias,
  MASKED,
  scaledDotProductAttention,
  softCap,
} from "./attention.ts";

/** Sums of eight products of numbers below one, in another order. */
const ROUNDING = 1e-6;

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

/** The bias of one row as a picture: a line per query, "x" where it sees the key. */
async function picture(bias: (mask: Tensor) => Tensor, mask: number[]): Promise<string[]> {
  const length = mask.length;
  const graph = { outputs: { bias: bias(input("mask", "int32", [1, length])) } };
  const outputs = await evaluate(engine, graph, { mask: int32([1, length], mask) });
  const values = outputs["bias"] as Float32Array;
  return Array.from({ length }, (_, t) =>
    Array.from(values.subarray(t * length, (t + 1) * length), (value) => {
      if (value !== 0) expect(value).toBe(MASKED);
      return value === 0 ? "x" : ".";
    }).join(""),
  );
}

describe("what each query sees", () => {
  test("causal, with padding on the left", async () => {
    const seen = await picture((mask) => causalPaddingBias(mask), [0, 1, 1, 1]);
    expect(seen).toEqual(["....", ".x..", ".xx.", ".xxx"]);
  });

  test("a causal window of two", async () => {
    const seen = await picture((mask) => causalPaddingBias(mask, 2), [1, 1, 1, 1, 0]);
    expect(seen).toEqual(["x....", "xx...", ".xx..", "..xx.", "...x."]);
  });

  test("one to each side", async () => {
    const seen = await picture((mask) => localPaddingBias(mask, 1), [1, 1, 1, 1, 0]);
    expect(seen).toEqual(["xx...", "xxx..", ".xxx.", "..xx.", "...x."]);
  });
});

test("shared keys and values are those of the group", async () => {
  const [q, k] = [input("q", "float32", [2, 6, 3, 4]), input("k", "float32", [2, 2, 3, 4])];
  const bias = causalPaddingBias(input("mask", "int32", [2, 3]));
  const repeated = reshape(broadcastTo(reshape(k, [2, 2, 1, 3, 4]), [2, 2, 3, 3, 4]), [2, 6, 3, 4]);
  const options = { bias, scale: 0.7, softCap: 1.5 };
  const outputs = {
    grouped: groupedQueryAttention(q, k, k, options),
    repeated: scaledDotProductAttention(q, repeated, repeated, options),
  };
  const { grouped, repeated: expected } = await evaluate(
    engine,
    { outputs },
    {
      q: spread([2, 6, 3, 4], 1),
      k: spread([2, 2, 3, 4], 2),
      mask: int32([2, 3], [1, 1, 1, 0, 1, 1]),
    },
  );
  expect(largestDifference(grouped as Float32Array, expected as Float32Array)).toBeLessThan(
    ROUNDING,
  );
});

test("a soft cap", async () => {
  const x = input("x", "float32", [3]);
  const feeds = { x: float32([3], [0.01, -3, 1000]) };
  const { y } = await evaluate(engine, { outputs: { y: softCap(x, 5) } }, feeds);
  const expected = [0.01, -3, 1000].map((value) => 5 * Math.tanh(value / 5));
  expect(largestDifference(y as Float32Array, expected)).toBeLessThan(ROUNDING);
});

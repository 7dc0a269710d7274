import { afterAll, beforeAll, expect, test } from "vitest";
import { evaluate, float32, int32, largestDifference } from "../../test/run-graph.ts";
import { input } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import { matmul } from "../ops/matmul.ts";
import { slice } from "../ops/movement.ts";
import { Engine } from "../runtime/engine.ts";
import { RotaryEmbedding, ropeFrequencies, applyRotation, rotation } from "./rotary.ts";

/** Cosines of float32 angles, and frequencies that PyTorch rounds at every step. */
const ROUNDING = 1e-6;
/** An angle near 100 has four digits less after the point than one near 0. */
const ANGLE_ROUNDING = 1e-4;

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

// The expected numbers are those of transformers 5.23.
test("plain frequencies", () => {
  expect(largestDifference(ropeFrequencies(4, { theta: 100 }), [1, 0.1])).toBeLessThan(ROUNDING);
});

test("frequencies stretched linearly", () => {
  const scaling = { type: "linear", factor: 4 } as const;
  const expected = [
    0.25, 0.0538608618080616, 0.011603971011936665, 0.0024999999441206455, 0.0005386085831560194,
    0.00011603973689489067,
  ];
  const frequencies = ropeFrequencies(12, { theta: 10_000, scaling });
  expect(largestDifference(frequencies, expected)).toBeLessThan(ROUNDING);
});

test("frequencies stretched as in Llama 3", () => {
  const scaling = {
    type: "llama3",
    factor: 8,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalLength: 32,
  } as const;
  const expected = [
    1, 0.014030774123966694, 0.0015749010490253568, 0.00017677668074611574, 1.9842507754219696e-5,
    2.2272474780038465e-6,
  ];
  const frequencies = ropeFrequencies(12, { theta: 500_000, scaling });
  frequencies.forEach((frequency, i) => expect(frequency / expected[i]!).toBeCloseTo(1, 6));
});

test("the first features are rotated, the others stay", async () => {
  const x = input("x", "float32", [1, 1, 1, 8]);
  const turn = rotation(input("positions", "int32", [1, 1]), ropeFrequencies(4, { theta: 100 }));
  const { y } = await evaluate(
    engine,
    { outputs: { y: applyRotation(x, turn) } },
    {
      x: float32([1, 1, 1, 8], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]),
      positions: int32([1, 1], [3]),
    },
  );
  const expected = [
    -0.14133524894714355, 0.07285922020673752, -0.28288576006889343, 0.441238671541214, 0.5, 0.6,
    0.7, 0.8,
  ];
  expect(largestDifference(y as Float32Array, expected)).toBeLessThan(ROUNDING);
});

const places = (name: string): Tensor => input(name, "int32", [2, 1]);
const row = (x: Tensor, at: number): Tensor => slice(x, 0, at, at + 1);

test("products depend on the distance only, with the frequencies of the layer's kind", async () => {
  const embedding = new RotaryEmbedding({
    near: ropeFrequencies(4, { theta: 10 }),
    far: ropeFrequencies(4, { theta: 1000 }),
  });
  const [q, k] = [input("q", "float32", [2, 1, 1, 4]), input("k", "float32", [2, 1, 1, 4])];
  const product = (kind: "near" | "far"): Tensor =>
    matmul(
      applyRotation(q, embedding.forward(places("query"), kind)),
      applyRotation(k, embedding.forward(places("key"), kind)),
      { transposeB: true },
    );
  const [near, far] = [product("near"), product("far")];
  const same = float32([2, 1, 1, 4], [1, 2, 3, 4, 1, 2, 3, 4]);
  const values = await evaluate(
    engine,
    { outputs: { first: row(near, 0), second: row(near, 1), far: row(far, 0) } },
    { q: same, k: same, query: int32([2, 1], [7, 102]), key: int32([2, 1], [5, 100]) },
  );
  const [first, second, other] = ["first", "second", "far"].map((name) => Number(values[name]![0]));
  expect(Math.abs(first! - second!)).toBeLessThan(ANGLE_ROUNDING);
  expect(Math.abs(first! - other!)).toBeGreaterThan(1);
  expect(String(embedding.printedAs("Rotary"))).toBe("Rotary()");
});

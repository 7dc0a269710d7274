import { expect, test } from "vitest";
import { exp, add } from "../ops/elementwise.ts";
import { reshape } from "../ops/movement.ts";
import { input } from "./leaves.ts";
import { peakMemory } from "./peak-memory.ts";

test("a chain holds two tensors at a time, an input and its result none", () => {
  const x = input("x", "float32", [100]);
  const chain = exp(exp(exp(exp(x))));
  expect(peakMemory({ outputs: { chain } })).toBe(2 * 400);
});

test("what is read later stays, under whatever shape", () => {
  const x = input("x", "float32", [100]);
  const early = exp(x);
  const late = exp(exp(exp(reshape(early, [10, 10]))));
  expect(peakMemory({ outputs: { sum: add(late, reshape(early, [10, 10])) } })).toBe(3 * 400);
});

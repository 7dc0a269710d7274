import { iota } from "./indexing.ts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { input } from "../graph/leaves.ts";
import { applyOne } from "../graph/node.ts";
import { compile } from "../runtime/compile.ts";
import { Engine } from "../runtime/engine.ts";
import { hash32, hashVectorOp, hashVectorReference, randomBits } from "./random.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

const key = input("key", "int32", [2]);
const keyOf = (seed: number, step: number) =>
  ({ dtype: "int32", shape: [2], data: Int32Array.of(seed, step) }) as const;

/** What randomBits computes. */
function bitsReference(seed: number, step: number, place: number, rows: number, columns: number) {
  const vector = (stream: number, length: number) =>
    hashVectorReference(seed, step, { stream, length });
  const [byRow, byColumn] = [vector(1, rows), vector(2, columns)];
  const factor = hash32(place) | 1;
  return Array.from(byRow, (row) =>
    Array.from(byColumn, (column) => Math.imul(Math.imul(row, factor), column)),
  );
}

describe("hashVector", () => {
  it("computes the reference, for keys of either sign", async () => {
    const attrs = { stream: 2, length: 64 };
    const graph = {
      outputs: { y: applyOne(hashVectorOp, [key, iota(attrs.length)], { stream: attrs.stream }) },
    };
    const program = await compile(engine, graph);
    for (const [seed, step] of [
      [0, 0],
      [7, 3],
      [-5, 0x7fffffff],
    ] as const) {
      const { outputs } = await engine.run(program, {
        feeds: { key: keyOf(seed, step) },
        fetch: ["y"],
      });
      expect(outputs["y"]!.data).toEqual(hashVectorReference(seed, step, attrs));
    }
  });

  it("has no part in common between seeds, steps and streams", () => {
    const vectors = [
      [1, 1, 1],
      [1, 1, 2],
      [1, 2, 1],
      [2, 1, 1],
      [2, 1, 2],
    ].map(([seed, step, stream]) =>
      hashVectorReference(seed!, step!, { stream: stream!, length: 256 }),
    );
    expect(new Set(vectors.flatMap((vector) => [...vector])).size).toBe(vectors.length * 256);
  });
});

describe("randomBits", () => {
  it("computes the reference", async () => {
    const program = await compile(engine, { outputs: { y: randomBits(key, 5, [3, 4]) } });
    const { outputs } = await engine.run(program, { feeds: { key: keyOf(9, 1) }, fetch: ["y"] });
    expect([...outputs["y"]!.data]).toEqual(bitsReference(9, 1, 5, 3, 4).flat());
  });

  it("drops elements, neighbours and blocks of four with the frequencies of independent ones", () => {
    const [rows, columns, probability] = [256, 512, 0.3];
    const threshold = Math.round(probability * 2 ** 32) - 2 ** 31;
    const counts = { one: 0, besides: 0, below: 0, block: 0 };
    let total = 0;
    for (let step = 0; step < 8; step++) {
      const dropped = bitsReference(3, step, 11, rows, columns).map((row) =>
        row.map((bits) => bits < threshold),
      );
      for (let i = 0; i + 1 < rows; i += 2) {
        for (let j = 0; j + 1 < columns; j += 2) {
          const [a, b] = [dropped[i]![j]!, dropped[i]![j + 1]!];
          const [c, d] = [dropped[i + 1]![j]!, dropped[i + 1]![j + 1]!];
          total++;
          counts.one += Number(a);
          counts.besides += Number(a && b);
          counts.below += Number(a && c);
          counts.block += Number(a && b && c && d);
        }
      }
    }
    const expectFrequency = (count: number, expected: number): void => {
      // Five standard errors, doubled: the rows of a matrix share their columns' numbers.
      const tolerance = 10 * Math.sqrt((expected * (1 - expected)) / total);
      expect(Math.abs(count / total - expected)).toBeLessThan(tolerance);
    };
    expectFrequency(counts.one, probability);
    expectFrequency(counts.besides, probability ** 2);
    expectFrequency(counts.below, probability ** 2);
    expectFrequency(counts.block, probability ** 4);
  });
});

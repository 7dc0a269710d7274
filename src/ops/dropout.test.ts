/** @file Dropout: statistics of its random numbers and of whole masks, and where it acts. All statistics are of
 * fixed seeds, so they cannot fail by chance; limits are in standard errors. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluate, int32 } from "../../test/run-graph.ts";
import { grad } from "../autodiff/grad.ts";
import { constant, input } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import { Dropout, RANDOM_KEY } from "../nn/layers.ts";
import { Sequential } from "../nn/module.ts";
import { Engine } from "../runtime/engine.ts";
import { dropout, hashVectorReference } from "./random.ts";
import { sum } from "./reduce.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

const key = input("key", "int32", [2]);
const keyFeed = (seed: number, step: number) => ({ key: int32([2], [seed, step]) });
/** Standard errors that a statistic may be off. */
const ERRORS = 4;

async function mask(
  shape: readonly number[],
  { probability = 0.1, seed = 1, step = 0, place = 1 },
): Promise<Uint8Array> {
  const ones = constant("float32", shape, new Float32Array(shape[0]! * shape[1]!).fill(1));
  const y = dropout(ones, { probability, key, place });
  const outputs = await evaluate(engine, { outputs: { y } }, keyFeed(seed, step));
  return Uint8Array.from(outputs["y"] as Float32Array, (value) => (value === 0 ? 0 : 1));
}

/** How many values have each bit set, the lowest first. */
function counts(values: Int32Array): number[] {
  return Array.from({ length: 32 }, (_, bit) => values.filter((x) => (x >>> bit) & 1).length);
}

describe("random vectors", () => {
  test("every bit above the lowest is set half of the time and depends on every bit of the key", () => {
    const attrs = { stream: 1, length: 4096 };
    const base = hashVectorReference(5, 9, attrs);
    const limit = ERRORS * Math.sqrt(0.25 * attrs.length) * 1.5; // the largest of 31·64 statistics
    expect(counts(base)[0]).toBe(attrs.length);
    for (const count of counts(base).slice(1)) {
      expect(Math.abs(count - attrs.length / 2)).toBeLessThan(limit);
    }
    for (let flipped = 0; flipped < 31; flipped++) {
      for (const other of [
        hashVectorReference(5 ^ (1 << flipped), 9, attrs),
        hashVectorReference(5, 9 ^ (1 << flipped), attrs),
      ]) {
        const changes = counts(other.map((x, i) => x ^ base[i]!)).slice(1);
        for (const count of changes) expect(Math.abs(count - attrs.length / 2)).toBeLessThan(limit);
      }
    }
  });
});

describe("a dropout mask", () => {
  const [ROWS, COLUMNS] = [960, 768];
  const N = ROWS * COLUMNS;

  test.each([0.1, 0.5])("keeps a share of 1 - %f, in all and in each row and column", async (p) => {
    const kept = await mask([ROWS, COLUMNS], { probability: p });
    const sigma = Math.sqrt(p * (1 - p));
    const share = (from: number, step: number, count: number): number => {
      let total = 0;
      for (let i = 0; i < count; i++) total += kept[from + i * step]!;
      return total / count;
    };
    expect(Math.abs(share(0, 1, N) - (1 - p))).toBeLessThan((ERRORS * sigma) / Math.sqrt(N));
    // The largest of a thousand deviations is about 3.3 standard errors.
    for (let row = 0; row < ROWS; row++) {
      const deviation = Math.abs(share(row * COLUMNS, 1, COLUMNS) - (1 - p));
      expect(deviation).toBeLessThan((5 * sigma) / Math.sqrt(COLUMNS));
    }
    for (let column = 0; column < COLUMNS; column++) {
      const deviation = Math.abs(share(column, COLUMNS, ROWS) - (1 - p));
      expect(deviation).toBeLessThan((5 * sigma) / Math.sqrt(ROWS));
    }
  });

  test("pairs and rectangles are dropped together as often as independent ones", async () => {
    const p = 0.5;
    const kept = await mask([ROWS, COLUMNS], { probability: p, seed: 11 });
    const at = (row: number, column: number): number => kept[row * COLUMNS + column]!;
    // A rectangle is the hard case: of the four products any three determine the last.
    const shapes: [string, readonly (readonly [number, number])[]][] = [
      [
        "neighbours in a row",
        [
          [0, 0],
          [0, 1],
        ],
      ],
      [
        "neighbours in a column",
        [
          [0, 0],
          [1, 0],
        ],
      ],
      [
        "diagonal",
        [
          [0, 0],
          [1, 1],
        ],
      ],
      [
        "far in a row",
        [
          [0, 0],
          [0, 384],
        ],
      ],
      [
        "rectangle",
        [
          [0, 0],
          [0, 1],
          [1, 0],
          [1, 1],
        ],
      ],
      [
        "wide rectangle",
        [
          [0, 0],
          [0, 300],
          [17, 0],
          [17, 300],
        ],
      ],
    ];
    for (const [name, places] of shapes) {
      let both = 0;
      let parity = 0;
      let count = 0;
      for (let row = 0; row + 17 < ROWS; row++) {
        for (let column = 0; column + 384 < COLUMNS; column++) {
          let ones = 0;
          for (const [down, right] of places) ones += at(row + down, column + right);
          both += +(ones === places.length);
          parity += ones & 1;
          count++;
        }
      }
      const expected = (1 - p) ** places.length;
      const limit = (variance: number): number => ERRORS * 2 * Math.sqrt(variance / count);
      expect(Math.abs(both / count - expected), name).toBeLessThan(
        limit(expected * (1 - expected)),
      );
      expect(Math.abs(parity / count - 0.5), name).toBeLessThan(limit(0.25));
    }
  });

  test("same key, same mask; another step, seed or place, another", async () => {
    const shape = [64, 256] as const;
    const first = await mask(shape, { probability: 0.5 });
    expect(await mask(shape, { probability: 0.5 })).toEqual(first);
    const n = shape[0] * shape[1];
    for (const change of [{ step: 1 }, { seed: 2 }, { place: 2 }]) {
      const other = await mask(shape, { probability: 0.5, ...change });
      const equal = other.filter((bit, i) => bit === first[i]).length;
      expect(Math.abs(equal / n - 0.5)).toBeLessThan((ERRORS * 2 * 0.5) / Math.sqrt(n));
    }
  });
});

describe("dropout", () => {
  test("divides what it keeps by 1 - p, and its gradient has the same mask", async () => {
    const x = input("x", "float32", [4, 64]);
    const y = dropout(x, { probability: 0.5, key, place: 3 });
    const { loss, gradients } = grad(sum(y), [x]);
    const feed = { dtype: "float32", shape: [4, 64], data: new Float32Array(256).fill(3) } as const;
    const outputs = await evaluate(
      engine,
      { outputs: { y, loss, dx: gradients[0]! } },
      { ...keyFeed(1, 2), x: feed },
    );
    expect(new Set(outputs["y"] as Float32Array)).toEqual(new Set([0, 6]));
    expect(Array.from(outputs["dx"] as Float32Array, (g) => g * 3)).toEqual([
      ...(outputs["y"] as Float32Array),
    ]);
  });

  test("a probability of 0 is no operation, one outside of [0, 1) an error", () => {
    const x = input("x", "float32", [2, 2]);
    expect(dropout(x, { probability: 0, key, place: 0 })).toBe(x);
    expect(() => dropout(x, { probability: 1, key, place: 0 })).toThrow(
      "dropout: expected a probability in [0, 1), got 1.",
    );
  });

  test("a Dropout module acts in training mode only, each place with a mask of its own", async () => {
    const x = constant("float32", [8, 64], new Float32Array(512).fill(1));
    const model = new Sequential(new Dropout(0.5), new Dropout(0.5));
    expect(model.forward(x)).toBe(x);
    model.train();
    const outputs: Record<string, Tensor> = {};
    for (const [i, layer] of model.layers.entries()) outputs[`y${i}`] = layer.forward(x);
    const feeds = { [RANDOM_KEY]: int32([2], [1, 1]) };
    const { y0, y1 } = await evaluate(engine, { outputs }, feeds);
    expect(y0).not.toEqual(y1);
    model.eval();
    expect(model.forward(x)).toBe(x);
  });
});

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { paddingShare, planBatches } from "./batches.ts";
import { randomGenerator } from "../random.ts";

/** Lengths like those of text messages: most short, some long. */
function messageLengths(n: number): number[] {
  const random = randomGenerator(1, "lengths");
  return Array.from({ length: n }, () => Math.ceil(25 * Math.exp(0.6 * random.normal())));
}

describe("planBatches", () => {
  it("covers every example once; only the last batch is short; lengths hold and are rounded", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 200 }), { maxLength: 300 }),
        fc.integer({ min: 1, max: 9 }),
        fc.boolean(),
        fc.integer({ min: 0, max: 3 }),
        (lengths, batchSize, shuffle, epoch) => {
          const batches = planBatches(lengths, {
            batchSize,
            shuffle,
            seed: 1,
            epoch,
            maxLength: 150,
          });
          const indices = batches.flatMap((batch) => batch.indices).sort((a, b) => a - b);
          expect(indices).toEqual(lengths.map((_, i) => i));
          for (const { indices: group } of batches.slice(0, -1))
            expect(group).toHaveLength(batchSize);
          for (const { indices: group, length } of batches) {
            const longest = Math.max(...group.map((i) => lengths[i] ?? 0));
            expect(length).toBeGreaterThanOrEqual(Math.min(longest, 150));
            expect(length === 150 || length % 8 === 0).toBe(true);
            expect(length).toBeGreaterThan(0);
            expect(length).toBeLessThanOrEqual(Math.min(150, Math.max(8, longest + 7)));
          }
        },
      ),
    );
  });

  it("is a function of seed and epoch", () => {
    const lengths = messageLengths(500);
    const plan = (seed: number, epoch: number) =>
      planBatches(lengths, { batchSize: 8, shuffle: true, seed, epoch });
    expect(plan(1, 0)).toEqual(plan(1, 0));
    expect(plan(1, 1)).not.toEqual(plan(1, 0));
    expect(plan(2, 0)).not.toEqual(plan(1, 0));
  });

  it("sorts by length for evaluation", () => {
    const batches = planBatches([5, 1, 3, 2], { batchSize: 2, shuffle: false, lengthMultiple: 1 });
    expect(batches).toEqual([
      { indices: [1, 3], length: 2 },
      { indices: [2, 0], length: 5 },
    ]);
  });

  it("pads little", () => {
    const lengths = messageLengths(2000);
    const share = (batchSize: number, shuffle: boolean, lengthMultiple: number): number =>
      paddingShare(planBatches(lengths, { batchSize, shuffle, lengthMultiple, seed: 3 }), lengths);
    expect(share(16, true, 1)).toBeLessThan(0.1);
    expect(share(16, true, 8)).toBeLessThan(0.2);
    expect(share(16, false, 1)).toBeLessThan(0.06);
    expect(paddingShare([{ indices: [0, 1], length: 4 }], [4, 2])).toBe(0.25);
    expect(paddingShare([], [])).toBe(0);
  });

  it("does not always put the longest texts into the short batch", () => {
    const lengths = messageLengths(103);
    const longest = Math.max(...lengths);
    const last = Array.from({ length: 20 }, (_, epoch) =>
      planBatches(lengths, { batchSize: 10, shuffle: true, epoch }).at(-1),
    );
    const holdsLongest = last.filter((batch) => batch?.indices.some((i) => lengths[i] === longest));
    expect(holdsLongest.length).toBeLessThan(8);
    expect(last.every((batch) => batch?.indices.length === 3)).toBe(true);
  });

  it("refuses sizes that are not positive", () => {
    expect(() => planBatches([1], { batchSize: 0, shuffle: true })).toThrow(
      "batchSize: expected a whole number of at least 1, got 0.",
    );
    expect(() => planBatches([1], { batchSize: 1, shuffle: true, maxLength: -1 })).toThrow(
      "maxLength: expected a whole number of at least 1, got -1.",
    );
  });
});

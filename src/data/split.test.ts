import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { groupedSplit, lastPartSplit, shuffle, stratifiedSplit } from "./split.ts";

const ascending = (a: number, b: number): number => a - b;

const sizes = (labels: number[], fraction: number): [number, number] => {
  const { train, heldOut } = stratifiedSplit(labels, fraction, 0);
  return [train.length, heldOut.length];
};

describe("shuffle", () => {
  it("permutes a copy, by the seed", () => {
    const items = Array.from({ length: 100 }, (_, i) => i);
    const shuffled = shuffle(items, 1);
    expect(shuffled).not.toEqual(items);
    expect(shuffled.toSorted(ascending)).toEqual(items);
    expect(shuffle(items, 1)).toEqual(shuffled);
    expect(shuffle(items, 2)).not.toEqual(shuffled);
    expect(shuffle([], 1)).toEqual([]);
  });
});

describe("stratifiedSplit", () => {
  it("keeps the classes in proportion", () => {
    const labels = Array.from({ length: 1000 }, (_, i) => (i % 10 === 0 ? 1 : 0));
    const { train, heldOut } = stratifiedSplit(labels, 0.2, 5);
    expect(heldOut).toHaveLength(200);
    expect(heldOut.filter((i) => labels[i] === 1)).toHaveLength(20);
    expect(train).toHaveLength(800);
    expect(stratifiedSplit(labels, 0.2, 5)).toEqual({ train, heldOut });
    expect(stratifiedSplit(labels, 0.2, 6)).not.toEqual({ train, heldOut });
  });

  it("partitions, and leaves every class an example in training", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 60 }),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        fc.integer(),
        (labels, fraction, seed) => {
          const { train, heldOut } = stratifiedSplit(labels, fraction, seed);
          expect([...train, ...heldOut].sort(ascending)).toEqual(labels.map((_, i) => i));
          expect(new Set(train.map((i) => labels[i]))).toEqual(new Set(labels));
          expect(heldOut.length).toBeLessThanOrEqual(
            Math.max(1, Math.round(labels.length * fraction)),
          );
        },
      ),
    );
  });

  it("is sensible for tiny data", () => {
    expect(sizes([], 0.1)).toEqual([0, 0]);
    expect(sizes([0], 0.1)).toEqual([1, 0]);
    expect(sizes([0, 1, 2], 0.5)).toEqual([3, 0]); // nothing can be spared
    expect(sizes([0, 0, 1, 1], 0.1)).toEqual([3, 1]);
    expect(sizes([0, 0, 1, 1], 0.5)).toEqual([2, 2]);
    expect(sizes([0, 0, 0, 1], 0.9)).toEqual([2, 2]);
  });

  it("refuses a fraction out of range", () => {
    expect(() => stratifiedSplit([0, 1], 1, 0)).toThrow(
      "held-out fraction: expected a number between 0 and 1, got 1. Pass for example 0.1.",
    );
    expect(() => stratifiedSplit([0, 1], NaN, 0)).toThrow("got NaN");
  });
});

describe("groupedSplit", () => {
  it("holds out whole groups, about as many examples as asked for", () => {
    const groups = Array.from({ length: 1000 }, (_, i) => Math.floor(i / 5));
    const { train, heldOut } = groupedSplit(groups, 0.1, 1);
    expect(heldOut).toHaveLength(100);
    const held = new Set(heldOut.map((i) => groups[i]));
    expect(held.size).toBe(20);
    expect(train.some((i) => held.has(groups[i]))).toBe(false);
    expect(groupedSplit(groups, 0.1, 1)).toEqual({ train, heldOut });
    expect(groupedSplit(groups, 0.1, 2)).not.toEqual({ train, heldOut });
  });

  it("partitions, and keeps a group on each side where there are two", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 60 }),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        fc.integer(),
        (groups, fraction, seed) => {
          const { train, heldOut } = groupedSplit(groups, fraction, seed);
          expect([...train, ...heldOut].sort(ascending)).toEqual(groups.map((_, i) => i));
          const isSeveral = new Set(groups).size > 1;
          expect([train.length > 0, heldOut.length > 0]).toEqual([true, isSeveral]);
          const held = new Set(heldOut.map((i) => groups[i]));
          expect(train.some((i) => held.has(groups[i]!))).toBe(false);
          const wanted = Math.max(1, Math.round(groups.length * fraction));
          expect(heldOut.length <= wanted || held.size === 1).toBe(true);
        },
      ),
    );
  });

  it("takes the smallest group where all are too large", () => {
    expect(groupedSplit([0, 0, 0, 1, 1, 2, 2, 2], 0.1, 0).heldOut).toEqual([3, 4]);
    expect(groupedSplit([], 0.1, 0)).toEqual({ train: [], heldOut: [] });
    expect(() => groupedSplit([0, 1], 0, 0)).toThrow("held-out fraction: expected");
  });
});

describe("lastPartSplit", () => {
  it("holds out the end, and leaves one to train on", () => {
    expect(lastPartSplit(5, 0.4)).toEqual({ train: [0, 1, 2], heldOut: [3, 4] });
    expect(lastPartSplit(5, 0.01)).toEqual({ train: [0, 1, 2, 3], heldOut: [4] });
    expect(lastPartSplit(1, 0.9)).toEqual({ train: [0], heldOut: [] });
    expect(() => lastPartSplit(5, 1)).toThrow(
      "held-out fraction: expected a number between 0 and 1",
    );
  });
});

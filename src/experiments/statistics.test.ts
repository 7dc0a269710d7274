import { describe, expect, it } from "vitest";
import { median, spreadOf } from "./statistics.ts";

describe("spreadOf", () => {
  it("is the mean and the sample standard deviation", () => {
    expect(spreadOf([2, 4, 4, 4, 5, 5, 7, 9])).toMatchObject({
      mean: 5,
      deviation: Math.sqrt(32 / 7),
    });
    expect(spreadOf([3, 3, 3]).deviation).toBe(0);
  });

  it("has no deviation of one value, and nothing of none", () => {
    expect(spreadOf([3])).toMatchObject({ mean: 3, deviation: NaN });
    expect(spreadOf([])).toMatchObject({ mean: NaN, deviation: NaN });
    expect(spreadOf([1, NaN]).mean).toBe(NaN);
  });
});

describe("median", () => {
  it("is the value in the middle, or the mean of two", () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([10, 9, 1, 5])).toBe(7);
    expect(median([])).toBe(NaN);
  });
});

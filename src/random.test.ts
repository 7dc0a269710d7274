import { describe, expect, it } from "vitest";
import { randomGenerator } from "./random.ts";

const draw = (seed: number, ...keys: (string | number)[]): number[] => {
  const random = randomGenerator(seed, ...keys);
  return Array.from({ length: 4 }, () => random.int(2 ** 32));
};

describe("randomGenerator", () => {
  it("is a function of seed and keys", () => {
    expect(draw(1, "a", 2)).toEqual(draw(1, "a", 2));
    const streams = [draw(1), draw(2), draw(-1), draw(1, "a"), draw(1, "a", 1), draw(1, "a", "1")];
    streams.push(draw(1, "ab"), draw(1, "a", "b"), draw(2 ** 40), draw(2 ** 41));
    expect(new Set(streams.map(String)).size).toBe(streams.length);
  });

  it("keeps giving the numbers it always gave", () => {
    expect(draw(123, "split")).toMatchInlineSnapshot(`
      [
        953834886,
        2904555528,
        2248108490,
        2274463314,
      ]
    `);
  });

  it("has the moments of its distributions", () => {
    const random = randomGenerator(7);
    const n = 100_000;
    const uniform = Array.from({ length: n }, () => random.uniform());
    const normal = Array.from({ length: n }, () => random.normal());
    const mean = (values: number[]): number => values.reduce((a, b) => a + b) / n;
    // Four standard errors of each estimate: 1/sqrt(n) is 0.0032.
    expect(Math.abs(mean(uniform) - 0.5)).toBeLessThan((4 * 0.2887) / Math.sqrt(n));
    expect(Math.min(...uniform)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...uniform)).toBeLessThan(1);
    expect(Math.abs(mean(normal))).toBeLessThan(4 / Math.sqrt(n));
    expect(Math.abs(mean(normal.map((x) => x * x)) - 1)).toBeLessThan(
      (4 * Math.SQRT2) / Math.sqrt(n),
    );
    expect(Math.abs(mean(normal.map((x) => x ** 4)) - 3)).toBeLessThan(
      (4 * Math.sqrt(96)) / Math.sqrt(n),
    );
  });

  it("draws each integer below n equally often", () => {
    const random = randomGenerator(3);
    const counts = Array.from({ length: 6 }, () => 0);
    for (let i = 0; i < 60_000; i++) {
      const value = random.int(6);
      counts[value] = (counts[value] ?? 0) + 1;
    }
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(4 * 91.3);
    expect(random.int(1)).toBe(0);
    expect(() => random.int(0)).toThrow(RangeError);
  });

  it("refuses a seed that is not a whole number", () => {
    expect(() => randomGenerator(0.5)).toThrow("seed: expected a whole number, got 0.5.");
    expect(() => randomGenerator(NaN)).toThrow("seed: expected a whole number, got NaN.");
  });
});

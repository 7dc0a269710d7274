import { describe, expect, it } from "vitest";
import { draw, grid, parseChoice, type Space } from "./space.ts";

const number = (text: string): Space[string] => parseChoice(text, Number, "--try r");

describe("spaces of a sweep", () => {
  it("reads values and ranges", () => {
    expect(number("1e-4, 5e-4")).toEqual({ values: [1e-4, 5e-4] });
    expect(number("1e-5..1e-2")).toEqual({
      low: 1e-5,
      high: 1e-2,
      logarithmic: true,
      whole: false,
    });
    expect(number("2..8")).toMatchObject({ logarithmic: false, whole: true });
    for (const bad of ["3..1", "1..1"]) {
      expect(() => number(bad)).toThrow(
        `--try r: expected a range from a smaller to a larger number, like 1e-5..1e-2, got "${bad}".`,
      );
    }
    expect(parseChoice("../a,../b,../a", String, "--try data")).toEqual({
      values: ["../a", "../b"],
    });
  });

  it("combines all values in a grid", () => {
    expect(grid({ r: number("1,2"), seed: number("3,4") })).toEqual([
      { r: 1, seed: 3 },
      { r: 1, seed: 4 },
      { r: 2, seed: 3 },
      { r: 2, seed: 4 },
    ]);
    expect(() => grid({ r: number("1..2") })).toThrow("r: a grid needs single values");
  });

  it("draws distinct configurations, the same ones for a seed", () => {
    const space: Space = {
      learningRate: number("1e-5..1e-2"),
      r: number("4,8"),
      seed: number("1..9"),
    };
    const drawn = draw(space, 20, 7);
    expect(drawn).toEqual(draw(space, 20, 7));
    expect(drawn).not.toEqual(draw(space, 20, 8));
    expect(new Set(drawn.map((one) => JSON.stringify(one))).size).toBe(20);
    for (const { learningRate, r, seed } of drawn as Record<string, number>[]) {
      expect(learningRate).toBeGreaterThanOrEqual(1e-5);
      expect(learningRate).toBeLessThanOrEqual(1e-2);
      expect([4, 8]).toContain(r);
      expect(Number.isInteger(seed)).toBe(true);
    }
    const small = drawn.filter(({ learningRate }) => (learningRate as number) < 10 ** -3.5);
    expect(small.length).toBeGreaterThan(4); // by the logarithm half of them
    expect(draw({ r: number("1,2,3") }, 10, 0)).toHaveLength(3);
  });
});

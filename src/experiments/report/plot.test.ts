import { describe, expect, it } from "vitest";
import { drawPlot, pathOf, layoutOf, spreadApart, type PlotOptions, type Point } from "./plot.ts";
import { kindFor, scaleOf } from "./scale.ts";
import { problemsOf } from "../../../test/html/well-formed.ts";

describe("scales", () => {
  it("end at round numbers around the values", () => {
    expect(scaleOf("linear", [0.913, 0.987]).ticks).toEqual([0.9, 0.92, 0.94, 0.96, 0.98, 1]);
    expect(scaleOf("linear", [0, 46]).ticks).toEqual([0, 10, 20, 30, 40, 50]);
    expect(scaleOf("log", [172_000, 2_700_000]).ticks).toEqual([1e5, 2e5, 5e5, 1e6, 2e6, 5e6]);
    expect(scaleOf("log", [3e-6, 0.5]).ticks).toEqual([1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1]);
    expect(scaleOf("log", [1.7e5, 9e7]).ticks).toEqual([1e5, 1e6, 1e7, 1e8]);
    expect(scaleOf("log", [3e-9, 0.5]).ticks).toEqual([1e-9, 1e-7, 1e-5, 1e-3, 0.1]);
    expect(scaleOf("log2", [1, 384]).ticks).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
  });

  it("put values where they belong", () => {
    const scale = scaleOf("log", [1, 100]);
    expect([1, 10, 100].map(scale.at)).toEqual([0, expect.closeTo(0.5, 12), 1]);
    expect([0, -1].map(scale.at)).toEqual([NaN, NaN]);
    expect(scaleOf("linear", [0, 10]).at(2.5)).toBe(0.25);
  });

  it.each([
    ["linear", [0.5]],
    ["linear", [0.5, 0.5]],
    ["linear", [0, 0]],
    ["linear", [-2]],
    ["linear", []],
    ["linear", [NaN, Infinity]],
    ["log", [7]],
    ["log", [1, 1]],
    ["log", [0, -1]],
    ["log2", [1]],
    ["log2", [0]],
  ] as const)("have a range whatever there is: %s %j", (kind, values) => {
    const { low, high, ticks, at } = scaleOf(kind, values);
    expect(high).toBeGreaterThan(low);
    expect(ticks.length).toBeGreaterThanOrEqual(2);
    expect(ticks.length).toBeLessThan(12);
    expect(at(low)).toBe(0);
    for (const value of values.filter(
      (one) => Number.isFinite(one) && (kind === "linear" || one > 0),
    )) {
      expect(at(value)).toBeGreaterThanOrEqual(0);
      expect(at(value)).toBeLessThanOrEqual(1);
    }
  });

  it("are logarithmic for losses that fall far", () => {
    expect(kindFor([0.7, 0.01])).toBe("log");
    expect(kindFor([0.7, 0.3, NaN])).toBe("linear");
    expect(kindFor([0.7, 0])).toBe("linear");
    expect(kindFor([])).toBe("linear");
  });
});

const plotOf = (points: readonly Point[], kind: "linear" | "log" = "linear"): PlotOptions => ({
  id: "p",
  title: "a plot",
  description: "of points",
  x: { label: "x", kind, format: String },
  y: { label: "y", kind, format: String },
  series: [{ name: "s", color: "red", points, line: true, marker: "circle", endLabel: "end" }],
});

describe("plots", () => {
  it("draw axes, ticks, the line, its points and their bars", () => {
    const svg = drawPlot(
      plotOf([
        { x: 0, y: 0, deviation: 0.1, label: "first" },
        { x: 10, y: 1, deviation: 0 },
      ]),
    ).text;
    expect(problemsOf(svg)).toEqual([]);
    expect(svg).toContain('<title id="p-title">a plot</title>\n<desc id="p-desc">of points</desc>');
    expect(svg.match(/<circle /g)).toHaveLength(2);
    expect(svg.match(/class="bar"/g)).toHaveLength(1);
    expect(svg.match(/class="line" d="M[\d.]+,[\d.]+L[\d.]+,[\d.]+"/g)).toHaveLength(1);
    expect(svg).toContain(">first</text>");
    expect(svg).toContain(">end</text>");
  });

  it.each([
    ["one point", [{ x: 3, y: 0.9 }], 1],
    [
      "equal values",
      [
        { x: 1, y: 0.9 },
        { x: 1, y: 0.9 },
      ],
      2,
    ],
    ["no points", [], 0],
    [
      "points that are no numbers",
      [
        { x: 1, y: NaN },
        { x: 2, y: 1, deviation: NaN },
      ],
      1,
    ],
  ] as const)("can be of %s", (_, points, shown) => {
    for (const kind of ["linear", "log"] as const) {
      const svg = drawPlot(plotOf(points, kind)).text;
      expect(problemsOf(svg)).toEqual([]);
      expect(svg).not.toMatch(/NaN|Infinity|undefined/);
      expect(svg.match(/<circle /g) ?? []).toHaveLength(shown);
    }
  });

  it("interrupt a line where there is nothing to show", () => {
    const points = [1, 2, NaN, 4, NaN, 6, 7].map((y, x) => ({ x, y }));
    const path = pathOf(points, layoutOf(plotOf(points)));
    // The single point in the middle is a line to itself.
    expect(path.replace(/[\d.,]+/g, "")).toBe("MLMLML");
  });

  it("draw a bar that reaches below a logarithmic axis to its end", () => {
    const svg = drawPlot(
      plotOf(
        [
          { x: 1, y: 1, deviation: 2 },
          { x: 2, y: 0.5 },
        ],
        "log",
      ),
    ).text;
    expect(svg).toMatch(/class="bar" d="[^"]*V292m/);
  });

  it("keep labels apart, and within the plot where they fit", () => {
    const range = { distance: 10, low: 0, high: 100 };
    expect(spreadApart([50, 52, 90], range)).toEqual([50, 60, 90]);
    expect(spreadApart([98, 99, 100], range)).toEqual([80, 90, 100]);
    expect(spreadApart([], range)).toEqual([]);
  });
});

import { describe, expect, it } from "vitest";
import { isBetter } from "./better.ts";

const metrics = (loss: number, accuracy: number) => ({ scalars: { loss, accuracy }, details: {} });

describe("isBetter", () => {
  it("takes the higher scalar, of equal ones the lower loss", () => {
    expect(isBetter(metrics(1, 0.9), undefined, "accuracy")).toBe(true);
    expect(isBetter(metrics(2, 0.91), metrics(1, 0.9), "accuracy")).toBe(true);
    expect(isBetter(metrics(1, 0.9), metrics(1, 0.9), "accuracy")).toBe(false);
    expect(isBetter(metrics(0.5, 0.9), metrics(1, 0.9), "accuracy")).toBe(true);
    expect(isBetter(metrics(0.5, 0.8), metrics(1, 0.9), "accuracy")).toBe(false);
  });

  it("takes the lower scalar where that is better", () => {
    expect(isBetter(metrics(1, 0.4), metrics(0.5, 0.5), "accuracy", true)).toBe(true);
    expect(isBetter(metrics(0.4, 0.6), metrics(0.5, 0.5), "accuracy", true)).toBe(false);
    expect(isBetter(metrics(0.4, 0.5), metrics(0.5, 0.5), "accuracy", true)).toBe(true);
  });

  it("takes the lower loss when asked to, and refuses unknown metrics", () => {
    expect(isBetter(metrics(0.5, 0.8), metrics(1, 0.9), "loss")).toBe(true);
    expect(() => isBetter(metrics(1, 1), undefined, "f2")).toThrow(
      'bestMetric: there is no metric "f2". Metrics: loss, accuracy.',
    );
  });
});

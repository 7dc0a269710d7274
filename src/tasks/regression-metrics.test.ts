import { describe, expect, it } from "vitest";
import { pearson, ranks, regressionMetrics, standardDeviation } from "./regression-metrics.ts";

describe("regressionMetrics", () => {
  it("agrees with scikit-learn and SciPy", () => {
    const targets = [3.5, 1, 2, 2, 5, -0.25, 4];
    const predictions = [3.1, 1.5, 2.5, 1.75, 4, 0.5, 4];
    const expected = {
      mse: 0.32642857142857146,
      rmse: 0.5713392787377491,
      mae: 0.4857142857142857,
      pearson: 0.9725111068851555,
      spearman: 0.9818181818181818,
    };
    const metrics = regressionMetrics(targets, predictions);
    for (const [name, value] of Object.entries(expected)) {
      expect(metrics[name as keyof typeof metrics]).toBeCloseTo(value, 14);
    }
  });

  it("has no correlation where all values are equal, or there are none", () => {
    expect(pearson([0.1, 0.1, 0.1], [1, 2, 3])).toBe(0);
    expect(pearson([1, 2, 3], [0.1, 0.1, 0.1])).toBe(0);
    expect(regressionMetrics([2], [3])).toEqual({
      mse: 1,
      rmse: 1,
      mae: 1,
      pearson: 0,
      spearman: 0,
    });
    expect(Object.values(regressionMetrics([], []))).toEqual([0, 0, 0, 0, 0]);
    expect(standardDeviation([])).toBe(0);
  });

  it("gives equal values the mean of their ranks", () => {
    expect(ranks([10, 20, 10, 5, 20, 20])).toEqual([2.5, 5, 2.5, 1, 5, 5]);
  });
});

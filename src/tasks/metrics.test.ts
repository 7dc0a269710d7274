import { describe, expect, it } from "vitest";
import {
  accuracy,
  confusionMatrix,
  macroF1,
  multiLabelMetrics,
  perLabelMetrics,
} from "./metrics.ts";

// truth 0 0 0 1 1 2, predicted 0 0 1 1 2 2
const counts = confusionMatrix([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2], 3);

describe("classification metrics", () => {
  it("counts true labels by row, predicted ones by column", () => {
    expect(counts).toEqual([
      [2, 1, 0],
      [0, 1, 1],
      [0, 0, 1],
    ]);
    expect(accuracy(counts)).toBeCloseTo(4 / 6, 12);
  });

  it("gives precision, recall and F1 of each label", () => {
    const [first, second, third] = perLabelMetrics(counts);
    expect(first).toEqual({ precision: 1, recall: 2 / 3, f1: 0.8, support: 3 });
    expect(second).toEqual({ precision: 0.5, recall: 0.5, f1: 0.5, support: 2 });
    expect(third).toEqual({ precision: 0.5, recall: 1, f1: 2 / 3, support: 1 });
    expect(macroF1(counts)).toBeCloseTo((0.8 + 0.5 + 2 / 3) / 3, 12);
  });

  it("is 0 where nothing was predicted, and leaves labels out that do not occur", () => {
    // Label 1 is never predicted, label 2 does not occur at all.
    const skewed = confusionMatrix([0, 0, 0, 1], [0, 0, 0, 0], 3);
    expect(perLabelMetrics(skewed)[1]).toEqual({ precision: 0, recall: 0, f1: 0, support: 1 });
    // F1 of label 0: 2·3 / (3 + 4)
    expect(macroF1(skewed)).toBeCloseTo(6 / 7 / 2, 12);
  });

  it("gives 0 without examples", () => {
    const empty = confusionMatrix([], [], 2);
    expect([accuracy(empty), macroF1(empty)]).toEqual([0, 0]);
  });
});

describe("multi-label metrics", () => {
  it("agree with scikit-learn", () => {
    const truth = [[0, 2], [1], [], [0, 1, 2], [2], []];
    const predicted = [[0, 2], [0, 1], [], [0, 1], [1], [2]];
    const {
      perLabel,
      microF1,
      macroF1: macro,
      subsetAccuracy,
    } = multiLabelMetrics(truth, predicted, 4);
    expect([microF1, macro, subsetAccuracy]).toEqual([2 / 3, 0.5, 1 / 3]);
    expect(perLabel.map(({ precision }) => precision)).toEqual([2 / 3, 2 / 3, 0.5, 0]);
    expect(perLabel.map(({ recall }) => recall)).toEqual([1, 1, 1 / 3, 0]);
    expect(perLabel.map(({ f1 }) => f1)).toEqual([0.8, 0.8, 0.4, 0]);
    expect(perLabel.map(({ support }) => support)).toEqual([2, 2, 3, 0]);
  });

  it("are 0 without examples or labels", () => {
    expect(multiLabelMetrics([], [], 1)).toMatchObject({
      microF1: 0,
      macroF1: 0,
      subsetAccuracy: 0,
    });
    expect(multiLabelMetrics([[]], [[]], 1)).toMatchObject({ microF1: 0, subsetAccuracy: 1 });
  });
});

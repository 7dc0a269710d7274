import { describe, expect, it } from "vitest";
import golden from "./metrics.golden.json" with { type: "json" };
import { answerMetrics, answerWords, bestAgreement, metricTables } from "./metrics.ts";

/** The official figures are sums of the same numbers in another order, in percent. */
const TOLERANCE = 1e-12;

const [pairs, official] = [golden.pairs as [string, string[], number, number][], golden.official];

describe("exact match and F1", () => {
  it("normalize as SQuAD's evaluation", () => {
    expect(answerWords("  The Cat's\u00a0hat, AN apple—a day (the) theatre ")).toEqual(
      "cats hat apple— day theatre".split(" "),
    );
    // Letters of every script are parts of words, as in Python.
    expect(answerWords("a日本 the_ a. b\u0085c\ufeff")).toEqual(["a日本", "b", "c\ufeff"]);
  });

  it("are those of SQuAD's evaluation on random texts", () => {
    for (const [answer, gold, exactMatch, f1] of pairs) {
      const ours = bestAgreement(answer, gold);
      expect(ours.exactMatch, JSON.stringify([answer, gold])).toBe(exactMatch);
      expect(Math.abs(ours.f1 - f1), JSON.stringify([answer, gold])).toBeLessThan(TOLERANCE);
    }
  });

  it("take the best of several right answers, and nothing for no answer", () => {
    expect(bestAgreement("the red car", ["car", "red bus", "blue"])).toEqual({
      exactMatch: 0,
      f1: 2 / 3,
    });
    expect(bestAgreement("", [])).toEqual({ exactMatch: 1, f1: 1 });
    expect(bestAgreement("car", [])).toEqual({ exactMatch: 0, f1: 0 });
    expect(bestAgreement("", ["car"])).toEqual({ exactMatch: 0, f1: 0 });
  });
});

describe("metrics of many questions", () => {
  const metrics = answerMetrics(golden.questions);

  it("are SQuAD's, in all and by kind of question", () => {
    const { all, hasAnswer, noAnswer, best } = metrics;
    for (const [ours, theirs] of [
      [all.exactMatch, official.exact],
      [all.f1, official.f1],
      [hasAnswer.exactMatch, official.HasAns_exact],
      [hasAnswer.f1, official.HasAns_f1],
      [noAnswer.exactMatch, official.NoAns_exact],
      [noAnswer.f1, official.NoAns_f1],
      [best!.exactMatch.value, official.best_exact],
      [best!.f1.value, official.best_f1],
    ] as const) {
      expect(Math.abs(100 * ours - theirs)).toBeLessThan(100 * TOLERANCE);
    }
    expect(best!.exactMatch.threshold).toBe(official.best_exact_thresh);
    expect(best!.f1.threshold).toBe(official.best_f1_thresh);
    expect([all, hasAnswer, noAnswer].map(({ questions }) => questions)).toEqual([
      official.total,
      official.HasAns_total,
      official.NoAns_total,
    ]);
  });

  it("come as tables where there are questions without answer", () => {
    const [parts, thresholds] = metricTables(metrics);
    expect(parts!.rows.map(([name]) => name)).toEqual(["all", "with an answer", "without"]);
    expect(thresholds!.rows[1]).toEqual(["F1", metrics.best!.f1.value, metrics.best!.f1.threshold]);
    expect(metricTables(answerMetrics(golden.questions.slice(0, 0)))).toEqual([]);
  });

  it("put the threshold below all differences where no answer is best for all", () => {
    const question = { gold: [], answer: "x", bestAnswer: "x", nullDifference: 3 };
    expect(answerMetrics([question]).best!.f1).toEqual({ value: 1, threshold: 2 });
    const without = { ...question, bestAnswer: "", nullDifference: Infinity };
    expect(answerMetrics([without]).best!.f1).toEqual({ value: 1, threshold: 0 });
  });
});

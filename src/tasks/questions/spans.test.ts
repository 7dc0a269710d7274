import { describe, expect, it } from "vitest";
import { bestSpans, bestTokens, rank, type WindowResult } from "./spans.ts";

/** Tokens of five characters with a space between. */
const starts = Array.from({ length: 50 }, (_, i) => 6 * i);
const offsets = { starts, ends: starts.map((start) => start + 5) };

function window(from: number, start: number[], end: number[], nullScore = 0): WindowResult {
  return {
    starts: bestTokens(Float32Array.from(start), from),
    ends: bestTokens(Float32Array.from(end), from),
    nullScore,
  };
}

describe("bestTokens", () => {
  it("gives the twenty highest, best first, of equal ones the earlier", () => {
    const { tokens, logits } = bestTokens(Float32Array.of(1, 3, 2, 3), 10);
    expect([...tokens]).toEqual([11, 13, 12, 10]);
    expect([...logits]).toEqual([3, 3, 2, 1]);
    expect(bestTokens(new Float32Array(30), 5).tokens).toEqual(
      Int32Array.from({ length: 20 }, (_, i) => i + 5),
    );
    expect(bestTokens(new Float32Array(0), 5).tokens).toHaveLength(0);
  });
});

describe("bestSpans", () => {
  it("adds logits, from start to end, not longer than allowed", () => {
    const one = window(0, [0, 5, 0], [9, 0, 1]);
    expect(bestSpans([one], offsets, 30)[0]).toEqual({ start: 0, end: 5, score: 9 });
    expect(bestSpans([one], offsets, 30)[1]).toEqual({ start: 6, end: 17, score: 6 });
    expect(bestSpans([one], offsets, 1).map(({ end, start }) => end - start)).toEqual([5, 5, 5]);
  });

  it("keeps a span that is in several windows once, with its best score", () => {
    const spans = bestSpans([window(0, [0, 5], [0, 5]), window(1, [7, 0], [7, 0])], offsets, 30);
    expect(spans.map(({ start, end, score }) => [start, end, score])).toEqual([
      [6, 11, 14],
      [6, 17, 7],
      [0, 11, 5],
      [0, 5, 0],
      [12, 17, 0],
    ]);
  });

  it("leaves out spans without characters, and keeps twenty", () => {
    const many = Array.from({ length: 20 }, () => 0);
    expect(bestSpans([window(0, many, many)], offsets, 30)).toHaveLength(20);
    const empty = { starts: [3], ends: [3] };
    expect(bestSpans([window(0, [1], [1])], empty, 30)).toEqual([]);
  });
});

describe("rank", () => {
  const windows = [window(0, [Math.log(3), 0], [0, -100], 2), window(0, [0], [0], -1)];
  const spans = bestSpans(windows, offsets, 1);

  it("gives probabilities, no answer among them by the least convinced window", () => {
    const { best, nullDifference, ranked } = rank(spans, windows, true);
    expect(best!.score).toBeCloseTo(Math.log(3), 6);
    expect(nullDifference).toBeCloseTo(-1 - Math.log(3), 6);
    const sum = 3 + Math.exp(-1) + Math.exp(-100);
    expect(ranked.map(({ span }) => span?.start)).toEqual([0, undefined, 6]);
    expect(ranked[0]!.probability).toBeCloseTo(3 / sum, 6);
    expect(ranked[1]!.probability).toBeCloseTo(Math.exp(-1) / sum, 6);
    expect(rank(spans, windows, false).ranked).toHaveLength(2);
  });

  it("knows a context without spans", () => {
    const { best, nullDifference, ranked } = rank([], windows, true);
    expect({ best, nullDifference }).toEqual({ best: undefined, nullDifference: Infinity });
    expect(ranked).toEqual([{ span: undefined, probability: 1 }]);
    expect(rank([], windows, false).ranked).toEqual([]);
  });
});

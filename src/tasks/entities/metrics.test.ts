import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { entityMetrics, metricTables, type EntityMetrics, type EntityScores } from "./metrics.ts";
import { parseTag, type Tag, type TagScheme } from "./tags.ts";

type Numbers = [precision: number, recall: number, f1: number, support: number];
interface Report {
  all: Numbers;
  types: Record<string, Numbers>;
}
interface Case {
  scheme: TagScheme;
  truth: string[];
  predicted: string[];
  default: Report;
  strict: Report;
  accuracy: number;
}

/** What seqeval says of random tags, see "source" in the file. */
const { cases } = JSON.parse(
  readFileSync(new URL("metrics.golden.json", import.meta.url), "utf8"),
) as { cases: Case[] };

const parse = (sentences: readonly string[]): Tag[][] =>
  sentences.map((text) => text.split(" ").map((tag) => parseTag(tag, "prefixed")));

function expectScores({ precision, recall, f1 }: Omit<EntityScores, "support">, numbers: Numbers) {
  for (const [i, value] of [precision, recall, f1].entries()) {
    expect(value).toBeCloseTo(numbers[i]!, 10);
  }
}

function expectReport(metrics: EntityMetrics, { all, types }: Report): void {
  expectScores(metrics, all);
  expect(Object.keys(metrics.perType).sort()).toEqual(Object.keys(types).sort());
  for (const [type, scores] of Object.entries(metrics.perType)) {
    expectScores(scores, types[type]!);
    expect(scores.support).toBe(types[type]![3]);
  }
}

describe("entityMetrics", () => {
  it.each(cases.map((value, i) => [i, value] as const))("equals seqeval (%i)", (_, golden) => {
    const [truth, predicted] = [parse(golden.truth), parse(golden.predicted)];
    // seqeval's default mode reads the tags of all schemes in one way, as ours of BIO does.
    const lenient = entityMetrics(truth, predicted, "bio");
    expectReport(lenient, golden.default);
    expect(lenient.accuracy).toBeCloseTo(golden.accuracy, 10);

    const metrics = entityMetrics(truth, predicted, golden.scheme);
    expectScores(metrics.strict, golden.strict.all);
    expect(metrics.strict.support).toBe(golden.strict.all[3]);
    expectReport(metrics, golden.scheme === "bio" ? golden.default : golden.strict);
  });

  it("is 0 where nothing is there or nothing is found", () => {
    const none = entityMetrics(parse(["O O"]), parse(["O O"]), "bio");
    expect([none.f1, none.precision, none.recall, none.accuracy]).toEqual([0, 0, 0, 1]);
    expect(entityMetrics([], [], "bio").accuracy).toBe(0);
    const missed = entityMetrics(parse(["B-x"]), parse(["O"]), "iobes");
    expect([missed.f1, missed.strict.support]).toEqual([0, 0]);
  });

  it("makes a table", () => {
    const metrics = entityMetrics(parse(["B-x O B-y"]), parse(["B-x O I-y"]), "bio");
    expect(metricTables(metrics)[0]!.rows).toEqual([
      ["x", 1, 1, 1, 1],
      ["y", 1, 1, 1, 1],
      ["all", 1, 1, 1, 2],
      ["all, strict", 1, 0.5, 2 / 3, 2],
    ]);
  });
});

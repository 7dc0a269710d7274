/** @file Exact match and F1 of answers, as SQuAD's evaluation defines them, from 0 to 1.
 * Source: https://rajpurkar.github.io/SQuAD-explorer/ (evaluate-v2.0.py) */
import type { MetricTable } from "../task.ts";

/** What Python's str.split() separates at. */
// oxlint-disable-next-line no-control-regex
const WHITE_SPACE = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/u;
const PUNCTUATION = /[!-/:-@[-`{-~]/g;
/** Whole words: \b as Python knows it, which is not only about ASCII. */
const ARTICLE = /(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])/gu;

/** The words of an answer that count: lower case, without punctuation and articles. */
export function answerWords(text: string): string[] {
  const plain = text.toLowerCase().replace(PUNCTUATION, "").replace(ARTICLE, " ");
  return plain.split(WHITE_SPACE).filter((word) => word !== "");
}

/** How well an answer agrees with a gold one: exact match is 0 or 1. */
export interface Agreement {
  readonly exactMatch: number;
  readonly f1: number;
}

/** F1 over common words, with their numbers: 2 · common / (predicted + gold). Where one has no words, it is 1 if
 * neither has. */
function agreement(predicted: readonly string[], gold: readonly string[]): Agreement {
  const exactMatch = predicted.join(" ") === gold.join(" ") ? 1 : 0;
  if (predicted.length === 0 || gold.length === 0) return { exactMatch, f1: exactMatch };
  const left = new Map<string, number>();
  for (const word of gold) left.set(word, (left.get(word) ?? 0) + 1);
  let common = 0;
  for (const word of predicted) {
    const count = left.get(word) ?? 0;
    if (count > 0) common++;
    left.set(word, count - 1);
  }
  return { exactMatch, f1: (2 * common) / (predicted.length + gold.length) };
}

/** The best agreement of an answer with any of the gold ones. Those without words do not count, and a question that has
 * no other has none: the right answer is then "". */
export function bestAgreement(answer: string, gold: readonly string[]): Agreement {
  const predicted = answerWords(answer);
  const texts = gold.map(answerWords).filter((words) => words.length > 0);
  const all = (texts.length > 0 ? texts : [[]]).map((words) => agreement(predicted, words));
  return {
    exactMatch: Math.max(...all.map(({ exactMatch }) => exactMatch)),
    f1: Math.max(...all.map(({ f1 }) => f1)),
  };
}

/** A question, what was predicted for it, and what is right. */
export interface Graded {
  readonly gold: readonly string[];
  /** "": no answer. */
  readonly answer: string;
  /** The best answer, even where no answer is predicted. */
  readonly bestAnswer: string;
  /** How much more the model trusts in there being no answer than in the best one. */
  readonly nullDifference: number;
}

/** Means over some questions. */
export interface AnswerScores extends Agreement {
  readonly questions: number;
}

/** The threshold on the null difference, above which no answer is predicted, that does best. */
export interface BestThreshold {
  readonly value: number;
  readonly threshold: number;
}

export interface AnswerMetrics {
  readonly all: AnswerScores;
  /** Questions with an answer, and those without. */
  readonly hasAnswer: AnswerScores;
  readonly noAnswer: AnswerScores;
  /** Where there are questions without answer: what other thresholds would give. */
  readonly best?: { readonly exactMatch: BestThreshold; readonly f1: BestThreshold };
}

/** Exact match and F1 of all questions and of both kinds. */
export function answerMetrics(graded: readonly Graded[]): AnswerMetrics {
  const scored = graded.map((question) => ({
    ...question,
    agreement: bestAgreement(question.answer, question.gold),
  }));
  const means = (of: typeof scored): AnswerScores => ({
    questions: of.length,
    exactMatch: mean(of.map(({ agreement: { exactMatch } }) => exactMatch)),
    f1: mean(of.map(({ agreement: { f1 } }) => f1)),
  });
  const noAnswer = scored.filter(({ gold }) => gold.length === 0);
  const scores = {
    all: means(scored),
    hasAnswer: means(scored.filter(({ gold }) => gold.length > 0)),
    noAnswer: means(noAnswer),
  };
  if (noAnswer.length === 0) return scores;
  const best = {
    exactMatch: bestThreshold(graded, "exactMatch"),
    f1: bestThreshold(graded, "f1"),
  };
  return { ...scores, best };
}

/** Tries every threshold: from below the lowest null difference, with no answer to any question, upwards. */
function bestThreshold(graded: readonly Graded[], metric: keyof Agreement): BestThreshold {
  let sum = graded.filter(({ gold }) => gold.length === 0).length;
  const sorted = graded.toSorted((a, b) => a.nullDifference - b.nullDifference);
  const lowest = sorted[0]!.nullDifference;
  let best = { value: sum, threshold: Number.isFinite(lowest) ? lowest - 1 : 0 };
  for (const { gold, bestAnswer, nullDifference } of sorted) {
    if (gold.length > 0) sum += bestAgreement(bestAnswer, gold)[metric];
    else if (bestAnswer !== "") sum--;
    if (sum > best.value) best = { value: sum, threshold: nullDifference };
  }
  return { ...best, value: best.value / graded.length };
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The parts of the metrics, and the best thresholds, where there are questions without answer. */
export function metricTables({ all, hasAnswer, noAnswer, best }: AnswerMetrics): MetricTable[] {
  if (!best) return [];
  return [
    {
      title: "Questions",
      columns: ["questions", "exact match", "F1", "number"],
      rows: [row("all", all), row("with an answer", hasAnswer), row("without", noAnswer)],
    },
    {
      title: "Best null thresholds on these questions",
      columns: ["metric", "value", "threshold"],
      rows: [
        ["exact match", best.exactMatch.value, best.exactMatch.threshold],
        ["F1", best.f1.value, best.f1.threshold],
      ],
    },
  ];
}

const row = (name: string, { exactMatch, f1, questions }: AnswerScores): (string | number)[] => [
  name,
  exactMatch,
  f1,
  questions,
];

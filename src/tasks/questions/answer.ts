/** @file From what is kept of a question's windows to its answer. */
import type { Question, WindowExample } from "./encode.ts";
import { bestSpans, rank, type ScoredSpan, type Verdict, type WindowResult } from "./spans.ts";

/** A possible answer. No answer is an empty text. */
export interface AnswerCandidate {
  /** `context.slice(start, end)` */
  readonly answer: string;
  /** Its probability among the candidates. */
  readonly score: number;
  /** Place in the context, in UTF-16 units as in JavaScript's strings. */
  readonly start: number;
  readonly end: number;
}

/** The answer to a question. */
export interface AnswerPrediction extends AnswerCandidate {
  /** Whether there is no answer. Present where the adapter knows questions without one, or nothing was found. */
  readonly noAnswer?: boolean;
  /** The logits for no answer minus those of the best answer: above the null threshold there is none. */
  readonly nullDifference?: number;
  /** The answer itself and the next best candidates, where more than one is asked for. */
  readonly nBest?: readonly AnswerCandidate[];
}

/** What decides between the candidates. */
export interface AnswerOptions {
  readonly maxAnswerTokens: number;
  /** Absent: there is always an answer. */
  readonly nullThreshold?: number | undefined;
  /** How many candidates to list. */
  readonly nBest: number;
}

/** A question with what its windows gave. */
export interface Windows {
  readonly question: Question;
  readonly offsets: WindowExample["offsets"];
  readonly results: WindowResult[];
}

/** Neighbouring examples of the same question, together. */
export function byQuestion(
  examples: readonly WindowExample[],
  results: readonly WindowResult[],
): Windows[] {
  const groups: Windows[] = [];
  for (const [i, { question, offsets }] of examples.entries()) {
    const last = groups.at(-1);
    if (last?.question === question) last.results.push(results[i]!);
    else groups.push({ question, offsets, results: [results[i]!] });
  }
  return groups;
}

/** What is predicted: without span, no answer. */
export interface Answered {
  readonly verdict: Verdict;
  readonly span?: ScoredSpan | undefined;
}

export function answerOf({ offsets, results }: Windows, options: AnswerOptions): Answered {
  const { maxAnswerTokens, nullThreshold } = options;
  const spans = bestSpans(results, offsets, maxAnswerTokens);
  const verdict = rank(spans, results, nullThreshold !== undefined);
  const isNone = nullThreshold !== undefined && verdict.nullDifference > nullThreshold;
  return { verdict, span: isNone ? undefined : verdict.best };
}

export const textOf =
  ({ context }: Question) =>
  (span: ScoredSpan | undefined): string =>
    span ? context.slice(span.start, span.end) : "";

export function predictionOf(
  question: Question,
  { verdict, span }: Answered,
  { nullThreshold, nBest }: AnswerOptions,
): AnswerPrediction {
  const candidates = verdict.ranked.map(({ span: own, probability }): AnswerCandidate => ({
    answer: textOf(question)(own),
    score: probability,
    start: own?.start ?? 0,
    end: own?.end ?? 0,
  }));
  const chosen = verdict.ranked.findIndex((candidate) => candidate.span === span);
  const { nullDifference, best } = verdict;
  const others = candidates.filter((_, index) => index !== chosen);
  const first = candidates[chosen] ?? { answer: "", score: 0, start: 0, end: 0 };
  const knowsNone = nullThreshold !== undefined || !best;
  return {
    ...first,
    ...(knowsNone ? { noAnswer: !span } : {}),
    ...(knowsNone && best ? { nullDifference } : {}),
    ...(nBest > 1 ? { nBest: [first, ...others].slice(0, nBest) } : {}),
  };
}

export const cells = ({ answer, score, start, end }: AnswerCandidate): (string | number)[] => [
  answer === "" ? "(no answer)" : answer,
  score,
  start,
  end,
];

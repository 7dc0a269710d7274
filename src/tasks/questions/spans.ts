/** @file From the logits of a question's windows to answers: the best spans over all windows.
 * Source: Devlin et al. 2018, section 4.2, https://arxiv.org/abs/1810.04805; n-best list and thresholds as in the
 * question answering example of transformers. */
import type { Span } from "../../data/answers.ts";
import { MAX_N_BEST } from "../options.ts";
import { softmax } from "../softmax.ts";

/** Starts and ends that are considered in a window, and spans that are kept of all windows. */
const N_BEST = MAX_N_BEST;

/** The tokens of a window with the highest logits, best first, numbered within the whole context. */
export interface BestTokens {
  readonly tokens: Int32Array;
  readonly logits: Float32Array;
}

/** What is kept of a window. */
export interface WindowResult {
  readonly starts: BestTokens;
  readonly ends: BestTokens;
  /** Start and end logit of the row's first token, added: no answer in this window. */
  readonly nullScore: number;
}

/** Places of a context's tokens in it, in UTF-16 units. */
export interface Offsets {
  readonly starts: ArrayLike<number>;
  readonly ends: ArrayLike<number>;
}

/** A span of the context and the sum of its start and end logit. */
export interface ScoredSpan extends Span {
  readonly score: number;
}

/** The N_BEST highest of `logits`; the first has the number `from`. Equal ones: the earlier first. */
export function bestTokens(logits: Float32Array, from: number): BestTokens {
  const order = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
  const best = order.slice(0, N_BEST);
  return {
    tokens: Int32Array.from(best, (index) => from + index),
    logits: Float32Array.from(best, (index) => logits[index]!),
  };
}

/** The N_BEST best spans of a question's windows, best first, each once: at most `maxTokens` long, and not empty. */
export function bestSpans(
  windows: readonly WindowResult[],
  { starts, ends }: Offsets,
  maxTokens: number,
): ScoredSpan[] {
  const spans = new Map<string, ScoredSpan>();
  for (const window of windows) {
    for (const [i, first] of window.starts.tokens.entries()) {
      for (const [j, last] of window.ends.tokens.entries()) {
        if (last < first || last - first >= maxTokens) continue;
        const [start, end] = [starts[first]!, ends[last]!];
        const key = `${start} ${end}`;
        const score = window.starts.logits[i]! + window.ends.logits[j]!;
        if (end > start && score > (spans.get(key)?.score ?? -Infinity)) {
          spans.set(key, { start, end, score });
        }
      }
    }
  }
  return [...spans.values()].sort((a, b) => b.score - a.score).slice(0, N_BEST);
}

/** What follows from a question's spans. */
export interface Verdict {
  /** The best span; undefined where the context has none. */
  readonly best: ScoredSpan | undefined;
  /** The score of no answer minus that of the best span. */
  readonly nullDifference: number;
  /** All candidates with their probabilities, best first; without span: no answer. */
  readonly ranked: readonly {
    readonly span: ScoredSpan | undefined;
    readonly probability: number;
  }[];
}

/** Rank the spans of a question, and no answer among them where `withNull`: its score is that of the window that
 * speaks least for it, since the answer need be in one window only. */
export function rank(
  spans: readonly ScoredSpan[],
  windows: readonly WindowResult[],
  withNull: boolean,
): Verdict {
  const nullScore = Math.min(...windows.map((window) => window.nullScore));
  const candidates: { span: ScoredSpan | undefined; score: number }[] = spans.map((span) => ({
    span,
    score: span.score,
  }));
  if (withNull) candidates.push({ span: undefined, score: nullScore });
  candidates.sort((a, b) => b.score - a.score);
  const probabilities = softmax(candidates.map(({ score }) => score));
  const best = spans[0];
  return {
    best,
    nullDifference: nullScore - (best?.score ?? -Infinity),
    ranked: candidates.map(({ span }, i) => ({ span, probability: probabilities[i]! })),
  };
}

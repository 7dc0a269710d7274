/** @file Questions about texts as rows of tokens: [CLS] question [SEP] context [SEP], a long context in several
 * overlapping windows, and where in each window the answer is. */
import type { Span } from "../../data/answers.ts";
import { LowrankError } from "../../errors.ts";
import { IGNORED_LABEL } from "../../ops/functional.ts";
import type { TokenSpans } from "../../text/offsets.ts";
import type { Offsets } from "./spans.ts";
import type { Encoder, Example } from "../task.ts";
import { windowsOf } from "../windows.ts";

/** A question, and what is known of its answer. */
export interface Question {
  readonly question: string;
  readonly context: string;
  /** Texts of all right answers, for metrics; none: there is no answer, or it is not known. */
  readonly answers: readonly string[];
  /** The answer to learn; "none": that there is none; undefined: nothing is learned from the question. */
  readonly target?: Span | "none" | undefined;
}

/** A row of a batch: a question and a window of its context. */
export interface WindowExample extends Example {
  /** Shared by all windows of the question. */
  readonly question: Question;
  /** Places of all tokens of the context in it. */
  readonly offsets: Offsets;
  /** Number within the context of the window's first token, and how many the window has. */
  readonly from: number;
  readonly count: number;
  /** Where in the row the window's first token is. */
  readonly place: number;
  /** Where in the row the answer begins and ends, both included: NULL_POSITION for a window without it, NO_POSITION for nothing to learn. */
  readonly start: number;
  readonly end: number;
}

/** The position that stands for no answer: the row's first token, [CLS] where the tokenizer has one. */
const NULL_POSITION = 0;

/** No position: the loss ignores it. */
export const NO_POSITION = IGNORED_LABEL;

/** A context needs room for a token at least. */
const LEAST_ROOM = 2;

/**
 * The windows of all questions, in order; and how many questions were cut, those that take more than half of
 * the room.
 *
 * @param stride tokens that neighbouring windows share
 * @throws LowrankError "usage" when the longest sequence leaves no room
 */
export function encodeQuestions(
  questions: readonly Question[],
  { tokenizer, maxLength }: Encoder,
  stride: number,
): { examples: WindowExample[]; truncated: number } {
  const specials = tokenizer.specialTokens(2);
  const room = maxLength - specials;
  if (room < LEAST_ROOM) {
    throw new LowrankError(
      "usage",
      `maxLength: expected at least ${specials + LEAST_ROOM} tokens, for ${specials} special ones, question and context, got ${maxLength}.`,
    );
  }
  // Questions often share a context.
  const tokenized = new Map<string, TokenSpans>();
  const tokensOf = (text: string): TokenSpans => {
    let tokens = tokenized.get(text);
    if (!tokens) tokenized.set(text, (tokens = tokenizer.tokenize(text)));
    return tokens;
  };

  let truncated = 0;
  const examples = questions.flatMap((question) => {
    const all = tokenizer.tokenize(question.question.trimStart()).ids;
    const own = all.subarray(0, Math.floor(room / 2));
    if (own.length < all.length) truncated++;
    const { ids, ...offsets } = tokensOf(question.context);
    const answer = answerTokens(question.target, offsets);
    return windowsOf(ids.length, room - own.length, stride).map(({ from, to }): WindowExample => {
      const { ids: inputIds, typeIds, places } = tokenizer.wrap([own, ids.subarray(from, to)]);
      const place = places[1]!;
      const [start, end] = positions(answer, { from, to, place });
      const tokenTypeIds = typeIds;
      return {
        inputIds,
        tokenTypeIds,
        question,
        offsets,
        from,
        count: to - from,
        place,
        start,
        end,
      };
    });
  });
  return { examples, truncated };
}

/** First and last token of an answer. */
type TokenRange = readonly [first: number, last: number];

/** The tokens that share a character with an answer; undefined where there is none. */
function answerTokens(
  target: Question["target"],
  { starts, ends }: Offsets,
): TokenRange | "none" | undefined {
  if (target === undefined || target === "none") return target;
  let first = 0;
  while (first < ends.length && ends[first]! <= target.start) first++;
  let last = starts.length - 1;
  while (last >= 0 && starts[last]! >= target.end) last--;
  return first <= last ? [first, last] : undefined;
}

/** Where in a window's row an answer is. A window that has only a part of it is one without. */
function positions(
  answer: TokenRange | "none" | undefined,
  window: { readonly from: number; readonly to: number; readonly place: number },
): [number, number] {
  if (answer === undefined) return [NO_POSITION, NO_POSITION];
  const { from, to, place } = window;
  if (answer === "none" || answer[0] < from || answer[1] >= to) {
    return [NULL_POSITION, NULL_POSITION];
  }
  return [answer[0] - from + place, answer[1] - from + place];
}

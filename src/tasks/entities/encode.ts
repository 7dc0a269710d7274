/** @file Sentences as rows of tokens, long ones in several overlapping windows, with the label of each word on the
 * first of its tokens; and the words' results put together again. */
import { LowrankError } from "../../errors.ts";
import { IGNORED_LABEL } from "../../ops/functional.ts";
import type { Encoder, Example } from "../task.ts";
import { windowsOf } from "../windows.ts";
import type { Sentence } from "./read.ts";

/** A sentence whose words may have labels; W words. */
export interface LabelledSentence extends Sentence {
  /** [W] label ids; undefined: not known. */
  readonly labels?: readonly number[];
}

/** A row of a batch: a window of a sentence, T tokens with special ones. */
export interface SentenceExample extends Example {
  /** Shared by all windows of the sentence. */
  readonly sentence: LabelledSentence;
  /** [T] label ids of tokens, IGNORED_LABEL where there is none. */
  readonly labels: Int32Array;
  /** The words whose first token is in the window, … */
  readonly words: readonly number[];
  /** … where in the row that token is, … */
  readonly positions: readonly number[];
  /** … and how many tokens of the sentence it has to the nearer end of the window at which the sentence goes on. */
  readonly contexts: readonly number[];
}

export interface EncodeOptions {
  /** Tokens that neighbouring windows share. */
  readonly stride: number;
  /** Given a word's label, that of its other tokens; undefined: they have none. */
  readonly inner?: ((label: number) => number) | undefined;
}

/** The windows of all sentences, in order. Throws LowrankError("usage") when the longest sequence leaves no room. */
export function encodeSentences(
  sentences: readonly LabelledSentence[],
  { tokenizer, maxLength, emptyToken }: Encoder,
  { stride, inner }: EncodeOptions,
): SentenceExample[] {
  const specials = tokenizer.specialTokens(1);
  const room = maxLength - specials;
  if (room < 1) {
    throw new LowrankError(
      "usage",
      `maxLength: expected at least ${specials + 1} tokens, ${specials} of them special ones, got ${maxLength}.`,
    );
  }
  return sentences.flatMap((sentence) => {
    const { ids, starts, ends } = tokenizer.tokenize(sentence.text);
    const words = wordsOfTokens(sentence, { starts, ends });
    return windowsOf(ids.length, room, stride).map(({ from, to }): SentenceExample => {
      const { ids: inputIds, places } = tokenizer.wrap([ids.subarray(from, to)]);
      const place = places[0]! - from;
      const labels = new Int32Array(Math.max(1, inputIds.length)).fill(IGNORED_LABEL);
      const example = {
        inputIds: inputIds.length === 0 ? Int32Array.of(emptyToken) : inputIds,
        sentence,
        labels,
        words: [] as number[],
        positions: [] as number[],
        contexts: [] as number[],
      };
      for (let token = from; token < to; token++) {
        const word = words[token]!;
        if (word === NO_WORD) continue;
        const isFirst = word !== words[token - 1];
        const label = sentence.labels?.[word] ?? IGNORED_LABEL;
        if (isFirst) {
          labels[place + token] = label;
          example.words.push(word);
          example.positions.push(place + token);
          const before = from === 0 ? ids.length : token - from;
          example.contexts.push(Math.min(before, to === ids.length ? ids.length : to - 1 - token));
        } else if (inner && label !== IGNORED_LABEL) labels[place + token] = inner(label);
      }
      return example;
    });
  });
}

const NO_WORD = -1;

/** The word of each token. A token that several words share is the first's; the others may have none. */
function wordsOfTokens(
  { starts: wordStarts, ends: wordEnds }: Sentence,
  { starts, ends }: { readonly starts: Int32Array; readonly ends: Int32Array },
): Int32Array {
  const words = new Int32Array(starts.length).fill(NO_WORD);
  let token = 0;
  for (const [word, wordStart] of wordStarts.entries()) {
    while (token < starts.length && ends[token]! <= wordStart) token++;
    for (; token < starts.length && starts[token]! < wordEnds[word]!; token++) words[token] = word;
  }
  return words;
}

/** What is kept of a window's words: their labels and how likely these are. */
export interface WindowLabels {
  readonly labels: Int32Array;
  readonly scores: Float32Array;
}

/** Labels of a sentence's words, [W] each; a word without token has the label -1. */
export interface WordLabels {
  readonly labels: Int32Array;
  readonly scores: Float32Array;
}

/** Each word's label from the window in which it has most context. */
export function joinWindows(
  examples: readonly SentenceExample[],
  results: readonly WindowLabels[],
): Map<LabelledSentence, WordLabels> {
  const joined = new Map<LabelledSentence, WordLabels & { contexts: Int32Array }>();
  for (const [i, { sentence, words, contexts }] of examples.entries()) {
    const count = sentence.starts.length;
    let all = joined.get(sentence);
    if (!all) {
      all = {
        labels: new Int32Array(count).fill(NO_WORD),
        scores: new Float32Array(count),
        contexts: new Int32Array(count).fill(-1),
      };
      joined.set(sentence, all);
    }
    for (const [k, word] of words.entries()) {
      if (contexts[k]! <= all.contexts[word]!) continue;
      all.contexts[word] = contexts[k]!;
      all.labels[word] = results[i]!.labels[k]!;
      all.scores[word] = results[i]!.scores[k]!;
    }
  }
  return joined;
}

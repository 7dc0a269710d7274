/** @file Texts, and prompts with completions, as examples of next-token prediction. */
import { IGNORED_LABEL } from "../../ops/functional.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { textTokens } from "../encoder.ts";
import type { Encoder, Example } from "../task.ts";

/** A row of a batch: a text, a stretch of a long one, or a prompt with its completion. */
export interface LanguageExample extends Example {
  /** [T]: the tokens that are learned, -100 where they are only read. The first is never predicted. */
  readonly labels: Int32Array;
  /** Tokens that are predicted. */
  readonly tokens: number;
  /** The UTF-8 bytes that they spell. */
  readonly bytes: number;
  /** Which of the inputs it is of. */
  readonly source: number;
}

/**
 * A text as examples of at most the encoder's length: a longer one is cut into stretches, each beginning with
 * the last token of the one before, so that every token but the text's first is predicted once.
 *
 * @param isWhole whether the text ends here: then its end is learned too, where the tokenizer has a token for it
 */
export function textExamples(
  text: string,
  encoder: Encoder,
  source: number,
  isWhole: boolean,
): LanguageExample[] {
  const { tokenizer, maxLength, emptyToken } = encoder;
  const own = textTokens(tokenizer, text);
  const wrapped = Array.from(tokenizer.wrap([own]).ids);
  if (isWhole) appendEnd(wrapped, tokenizer);
  const ids = Int32Array.from(wrapped.length === 0 ? [emptyToken] : wrapped);

  // Without a token before it, the first one is not predicted.
  const isFirstRead = own.length > 0 && ids[0] === own[0];
  const bytes = byteLength(text) - (isFirstRead ? byteLength(tokenizer.decode([own[0]!])) : 0);
  const predicted = ids.length - 1;
  const examples: LanguageExample[] = [];
  for (let start = 0; start === 0 || start < predicted; start += maxLength - 1) {
    const inputIds = ids.slice(start, start + maxLength);
    const tokens = inputIds.length - 1;
    const share = predicted === 0 ? 0 : (Math.max(0, bytes) * tokens) / predicted;
    examples.push({ inputIds, labels: inputIds, tokens, bytes: share, source });
  }
  return examples;
}

/**
 * A prompt with the completion that is learned after it, and the end of the text where the tokenizer has a
 * token for it. The prompt has the tokens that it has by itself, as when a completion is generated. What is
 * too long loses the prompt's beginning, then the completion's end.
 */
export function completionExample(
  prompt: string,
  completion: string,
  encoder: Encoder,
  source: number,
): { example: LanguageExample; isCut: boolean } {
  const { tokenizer, maxLength, emptyToken } = encoder;
  const { ids, places } = tokenizer.wrap([textTokens(tokenizer, prompt)]);
  const before = Array.from(ids.slice(0, places[0]));
  const asked = textTokens(tokenizer, prompt);
  const answer = completionTokens(prompt, asked, completion, tokenizer);
  const count = answer.length;
  appendEnd(answer, tokenizer);

  const keptPrompt = Math.max(
    before.length === 0 ? 1 : 0,
    Math.min(asked.length, maxLength - before.length - answer.length),
  );
  const read = [...before, ...asked.slice(Math.max(0, asked.length - keptPrompt))];
  const learned = answer.slice(0, maxLength - read.length);
  const inputIds = Int32Array.from([...read, ...learned]);
  const labels = Int32Array.from([...read.map(() => IGNORED_LABEL), ...learned]);
  const tokens = read.length === 0 ? Math.max(0, learned.length - 1) : learned.length;
  const share = count === 0 ? 0 : Math.min(1, learned.length / count);
  const example =
    inputIds.length === 0
      ? { inputIds: Int32Array.of(emptyToken), labels: Int32Array.of(IGNORED_LABEL) }
      : { inputIds, labels };
  return {
    example: { ...example, tokens, bytes: share * byteLength(completion), source },
    isCut: read.length + learned.length < before.length + asked.length + answer.length,
  };
}

/** What the completion adds to the prompt's tokens. Where prompt and completion would share a token, or the
 * tokenizer begins texts in another way, it has the tokens of a text by itself. */
function completionTokens(
  prompt: string,
  asked: readonly number[],
  completion: string,
  tokenizer: Tokenizer,
): number[] {
  const whole = textTokens(tokenizer, prompt + completion);
  const continues = asked.every((id, i) => whole[i] === id);
  return continues ? whole.slice(asked.length) : textTokens(tokenizer, completion);
}

function appendEnd(ids: number[], { eosTokenId }: Tokenizer): void {
  if (eosTokenId !== undefined && ids.at(-1) !== eosTokenId) ids.push(eosTokenId);
}

const byteLength = (text: string): number => new TextEncoder().encode(text).length;

/** @file From texts to token ids that a model can take: truncated, never empty, within its vocabulary. */
import { LowrankError } from "../errors.ts";
import type { BaseConfig, ModelLimits } from "../models/family.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { Encoder } from "./task.ts";

/** Longest sequence unless the user asks for more: attention takes memory with its square. */
export const DEFAULT_MAX_LENGTH = 512;

export interface EncoderOptions {
  readonly tokenizer: Tokenizer;
  readonly config: BaseConfig;
  readonly limits: ModelLimits;
  /** Default: the model's, at most DEFAULT_MAX_LENGTH. */
  readonly maxLength?: number | undefined;
}

/**
 * The encoder of a model.
 *
 * A text of no tokens (an empty one, where the tokenizer adds no special tokens) becomes one padding or
 * end-of-text token.
 *
 * @throws LowrankError "usage" for a maxLength beyond the model's, "tokenizer" for one that does not fit
 *   the model's vocabulary
 */
export function makeEncoder({ tokenizer, config, limits, maxLength }: EncoderOptions): Encoder {
  const length = maxLength ?? Math.min(limits.maxLength, DEFAULT_MAX_LENGTH);
  if (length > limits.maxLength) {
    throw new LowrankError(
      "usage",
      `maxLength: the model takes at most ${limits.maxLength} tokens, got ${length}. Choose a smaller maxLength.`,
    );
  }
  if (tokenizer.vocabSize > limits.vocabSize) {
    throw new LowrankError(
      "tokenizer",
      `the tokenizer has ${tokenizer.vocabSize} tokens, the model's embedding ${limits.vocabSize} rows: ` +
        "expected no more tokens than rows. Use the tokenizer that belongs to the model.",
    );
  }
  const empty = emptyTextToken(tokenizer, config, limits);
  return {
    maxLength: length,
    emptyToken: empty,
    tokenizer,
    encode(texts) {
      const { ids, truncated } = tokenizer.encodeBatch(texts, { maxLength: length });
      return { ids: ids.map((row) => (row.length === 0 ? Int32Array.of(empty) : row)), truncated };
    },
  };
}

/** A pair of texts as one sequence. */
export interface EncodedPair {
  readonly ids: Int32Array;
  /** The segment of each token. */
  readonly typeIds: Int32Array;
  readonly isCut: boolean;
}

/**
 * Two texts with special tokens around and between, at most the encoder's length. The longer text is cut
 * first, as by transformers' "longest_first".
 *
 * @throws LowrankError "usage" when the length leaves no room for two texts
 */
export function encodePair(encoder: Encoder, text: string, pair: string): EncodedPair {
  const { tokenizer, maxLength, emptyToken } = encoder;
  const room = maxLength - tokenizer.specialTokens(2);
  if (room < 2) {
    throw new LowrankError(
      "usage",
      `maxLength: expected at least ${maxLength - room + 2} tokens for pairs of texts, got ${maxLength}.`,
    );
  }
  const [first, second] = [textTokens(tokenizer, text), textTokens(tokenizer, pair)];
  const [one, other] = pairLengths(first.length, second.length, room);
  const { ids, typeIds } = tokenizer.wrap([
    shortened(first, one, tokenizer.truncateLeft),
    shortened(second, other, tokenizer.truncateLeft),
  ]);
  const isCut = first.length > one || second.length > other;
  return ids.length === 0
    ? { ids: Int32Array.of(emptyToken), typeIds: Int32Array.of(0), isCut }
    : { ids, typeIds, isCut };
}

/** A text's tokens without special ones. */
export function textTokens(tokenizer: Tokenizer, text: string): number[] {
  const { ids } = tokenizer.encode(text);
  const start = tokenizer.wrap([[]]).places[0]!;
  return ids.slice(start, ids.length + start - tokenizer.specialTokens(1));
}

/** How many tokens of two texts are kept in `room`: the longer one is cut down to the shorter one's length,
 * then both in turn, as transformers' "longest_first" does. */
export function pairLengths(first: number, second: number, room: number): [number, number] {
  if (first + second <= room) return [first, second];
  const shorter = Math.min(first, second, Math.floor(room / 2));
  return first <= second ? [shorter, room - shorter] : [room - shorter, shorter];
}

function shortened(tokens: number[], length: number, fromLeft: boolean): number[] {
  return fromLeft ? tokens.slice(tokens.length - length) : tokens.slice(0, length);
}

function emptyTextToken(tokenizer: Tokenizer, config: BaseConfig, limits: ModelLimits): number {
  const eos = config["eos_token_id"];
  return (
    tokenizer.padTokenId ??
    config.pad_token_id ??
    tokenizer.eosTokenId ??
    (typeof eos === "number" ? eos : limits.padTokenId)
  );
}

/** The token that fills up sequences. The model's own comes first: decoders find the last real token by
 * it; where it has none, the attention mask decides and any token will do. */
export function paddingToken(
  tokenizer: Tokenizer,
  config: BaseConfig,
  limits: ModelLimits,
): number {
  return config.pad_token_id ?? emptyTextToken(tokenizer, config, limits);
}

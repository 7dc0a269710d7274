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

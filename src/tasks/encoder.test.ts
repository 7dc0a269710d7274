import { describe, expect, it } from "vitest";
import type { BaseConfig } from "../models/family.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { makeEncoder, paddingToken } from "./encoder.ts";

const limits = { maxLength: 1024, vocabSize: 100, padTokenId: 0 };
const config: BaseConfig = { model_type: "gpt2" };

/** A token a letter, no special tokens. */
function tokenizer(special: Partial<Tokenizer> = {}): Tokenizer {
  return {
    vocabSize: 100,
    encodeBatch: (texts: readonly string[], { maxLength }: { maxLength: number }) => ({
      ids: texts.map((text) => new Int32Array(Math.min(text.length, maxLength)).fill(5)),
      truncated: texts.filter(({ length }) => length > maxLength).length,
    }),
    ...special,
  } as Tokenizer;
}

/** The one token of an empty text. */
function empty(special: Partial<Tokenizer>, more: Partial<BaseConfig> = {}): number {
  const encoder = makeEncoder({
    tokenizer: tokenizer(special),
    config: { ...config, ...more },
    limits,
  });
  return encoder.encode([""]).ids[0]![0]!;
}

function make(vocabSize: number, maxLength = 8) {
  return makeEncoder({ tokenizer: tokenizer({ vocabSize }), config, limits, maxLength });
}

describe("makeEncoder", () => {
  it("cuts at 512 tokens unless asked otherwise, and says how many", () => {
    const encoder = makeEncoder({ tokenizer: tokenizer(), config, limits });
    expect(encoder.maxLength).toBe(512);
    const { ids, truncated } = encoder.encode(["x".repeat(600), "x"]);
    expect([ids[0]!.length, ids[1]!.length, truncated]).toEqual([512, 1, 1]);
    expect(makeEncoder({ tokenizer: tokenizer(), config, limits, maxLength: 1024 }).maxLength).toBe(
      1024,
    );
  });

  it("makes a text of no tokens one token: padding, else end of text", () => {
    expect(empty({ padTokenId: 3, eosTokenId: 4 })).toBe(3);
    expect(empty({ eosTokenId: 4 })).toBe(4);
    expect(empty({}, { eos_token_id: 6 })).toBe(6);
    expect(empty({})).toBe(0);
  });

  it("refuses what does not fit the model", () => {
    expect(() => make(101)).toThrow(
      "the tokenizer has 101 tokens, the model's embedding 100 rows: expected no more tokens than rows.",
    );
    expect(() => make(100, 2000)).toThrow(
      "maxLength: the model takes at most 1024 tokens, got 2000. Choose a smaller maxLength.",
    );
  });
});

describe("paddingToken", () => {
  it("is the model's own before the tokenizer's: decoders find the last token by it", () => {
    const own = tokenizer({ padTokenId: 3 });
    expect(paddingToken(own, { ...config, pad_token_id: 7 }, limits)).toBe(7);
    expect(paddingToken(own, config, limits)).toBe(3);
  });
});

import { describe, expect, it } from "vitest";
import type { BaseConfig } from "../models/family.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { encodePair, makeEncoder, paddingToken, pairLengths } from "./encoder.ts";

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

/** A token a letter; 1 before, between and behind. */
const wrapping = (truncateLeft: boolean): Tokenizer =>
  ({
    truncateLeft,
    specialTokens: (texts: number) => texts + 1,
    encode: (text: string) => ({ ids: [1, ...codes(text), 1], typeIds: [] }),
    wrap: (texts: number[][]) => {
      const ids = [1, ...texts.flatMap((own) => [...own, 1])];
      const typeIds = [0, ...texts.flatMap((own, i) => [...own.map(() => i), i])];
      return { ids: Int32Array.from(ids), typeIds: Int32Array.from(typeIds), places: [1] };
    },
  }) as unknown as Tokenizer;

function encode(text: string, pair: string, maxLength: number, truncateLeft = false) {
  const tokenizer = wrapping(truncateLeft);
  return encodePair({ tokenizer, maxLength, emptyToken: 0, encode: () => never() }, text, pair);
}

describe("pairs of texts", () => {
  // Lengths of two texts, the room for them, and what the tokenizers of Hugging Face leave of each.
  it.each([
    [2, 2, 8, [2, 2]],
    [3, 9, 8, [3, 5]],
    [9, 3, 8, [5, 3]],
    [9, 9, 8, [4, 4]],
    [9, 9, 7, [3, 4]],
    [5, 4, 7, [4, 3]],
    [3, 4, 6, [3, 3]],
    [0, 9, 5, [0, 5]],
    [9, 0, 5, [5, 0]],
  ])("of %i and %i tokens in %i become %j", (first, second, room, kept) => {
    expect(pairLengths(first, second, room)).toEqual(kept);
  });

  it("have segments, and lose their ends where they are too long", () => {
    expect(encode("ab", "c", 8)).toMatchObject({
      ids: Int32Array.from([1, ...codes("ab"), 1, ...codes("c"), 1]),
      typeIds: Int32Array.of(0, 0, 0, 0, 1, 1),
      isCut: false,
    });
    const cut = encode("abcd", "xyz", 7);
    expect(cut.ids).toEqual(Int32Array.from([1, ...codes("ab"), 1, ...codes("xy"), 1]));
    expect(cut.isCut).toBe(true);
    const left = encode("abcd", "xyz", 7, true);
    expect(left.ids).toEqual(Int32Array.from([1, ...codes("cd"), 1, ...codes("yz"), 1]));
    expect(encode("", "", 5).ids).toEqual(Int32Array.of(1, 1, 1));
  });

  it("need room for both", () => {
    expect(() => encode("a", "b", 4)).toThrow(
      "maxLength: expected at least 5 tokens for pairs of texts, got 4.",
    );
  });
});

function codes(text: string): number[] {
  return Array.from(text, (letter) => letter.codePointAt(0)!);
}

function never(): never {
  throw new Error("not used");
}

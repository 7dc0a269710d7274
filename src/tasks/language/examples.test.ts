import { describe, expect, it } from "vitest";
import type { Tokenizer } from "../../text/tokenizer.ts";
import type { Encoder } from "../task.ts";
import { completionExample, textExamples } from "./examples.ts";

const EOS = 1;
const BOS = 2;

interface Kind {
  readonly bos?: boolean;
  readonly eos?: boolean;
  readonly maxLength?: number;
  /** Tokens of a text; default: a letter each. */
  readonly tokens?: (text: string) => number[];
}

const letters = (text: string): number[] => Array.from(text, (letter) => letter.codePointAt(0)!);

function encoder({
  bos = false,
  eos = true,
  maxLength = 100,
  tokens = letters,
}: Kind = {}): Encoder {
  const before = bos ? [BOS] : [];
  const tokenizer = {
    eosTokenId: eos ? EOS : undefined,
    encode: (text: string) => ({ ids: [...before, ...tokens(text)], typeIds: [] }),
    wrap: ([ids]: [ArrayLike<number>]) => ({
      ids: Int32Array.from([...before, ...Array.from(ids)]),
      typeIds: new Int32Array(0),
      places: [before.length],
    }),
    specialTokens: () => before.length,
    decode: (ids: number[]) => String.fromCodePoint(...ids),
  };
  return { maxLength, emptyToken: 9, tokenizer: tokenizer as unknown as Tokenizer, encode: never };
}

function never(): never {
  throw new Error("not used");
}

const ids = (text: string): number[] => letters(text);
const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);

describe("textExamples", () => {
  it("learns every token but the first, and the end", () => {
    const [example] = textExamples("abc", encoder(), 4, true);
    expect(example).toEqual({
      inputIds: Int32Array.from([...ids("abc"), EOS]),
      labels: Int32Array.from([...ids("abc"), EOS]),
      tokens: 3,
      bytes: 2,
      source: 4,
    });
    // After a token for the beginning, the first one is learned as well.
    expect(textExamples("aé", encoder({ bos: true }), 0, true)[0]).toMatchObject({
      tokens: 3,
      bytes: 3,
    });
    expect(textExamples("abc", encoder(), 0, false)[0]).toMatchObject({ tokens: 2, bytes: 2 });
    expect(textExamples("abc", encoder({ eos: false }), 0, true)[0]).toMatchObject({ tokens: 2 });
  });

  it("cuts long texts so that each token is predicted once", () => {
    const text = "abcdefghij";
    const examples = textExamples(text, encoder({ maxLength: 4 }), 0, false);
    expect(examples.map(({ inputIds }) => String.fromCodePoint(...inputIds))).toEqual([
      "abcd",
      "defg",
      "ghij",
    ]);
    expect(sum(examples.map(({ tokens }) => tokens))).toBe(9);
    expect(sum(examples.map(({ bytes }) => bytes))).toBe(9);
    const whole = textExamples(text, encoder({ maxLength: 4, bos: true }), 0, true);
    expect(whole.map(({ tokens }) => tokens)).toEqual([3, 3, 3, 2]);
    expect(sum(whole.map(({ bytes }) => bytes))).toBeCloseTo(10, 12);
  });

  it("has nothing to predict in an empty text, or only its end", () => {
    expect(textExamples("", encoder({ eos: false }), 0, true)).toEqual([
      { inputIds: Int32Array.of(9), labels: Int32Array.of(9), tokens: 0, bytes: 0, source: 0 },
    ]);
    expect(textExamples("", encoder({ bos: true }), 0, true)[0]).toMatchObject({
      tokens: 1,
      bytes: 0,
    });
  });
});

describe("completionExample", () => {
  it("reads the prompt and learns the completion and its end", () => {
    const { example, isCut } = completionExample("ab", "cd", encoder({ bos: true }), 3);
    expect(example).toEqual({
      inputIds: Int32Array.from([BOS, ...ids("abcd"), EOS]),
      labels: Int32Array.from([-100, -100, -100, ...ids("cd"), EOS]),
      tokens: 3,
      bytes: 2,
      source: 3,
    });
    expect(isCut).toBe(false);
  });

  it("keeps the prompt's own tokens where a joint text would merge the two", () => {
    // "bc" is a token of the joint text.
    const merging = encoder({ tokens: (text) => letters(text.replace("bc", "x")) });
    const { example } = completionExample("ab", "cd", merging, 0);
    expect(String.fromCodePoint(...example.inputIds.slice(0, -1))).toBe("abcd");
    // A tokenizer that begins every text with a blank does not put one between the two.
    const blank = encoder({ tokens: (text) => letters(`_${text}`), eos: false });
    const spaced = completionExample("ab", "cd", blank, 0);
    expect(String.fromCodePoint(...spaced.example.inputIds)).toBe("_abcd");
  });

  it("cuts the prompt's beginning first, then the completion's end", () => {
    const cut = completionExample("abcdef", "xy", encoder({ bos: true, maxLength: 6 }), 0);
    expect(cut.isCut).toBe(true);
    expect(cut.example.inputIds).toEqual(Int32Array.from([BOS, ...ids("efxy"), EOS]));
    const longer = completionExample("abc", "uvwxyz", encoder({ maxLength: 4 }), 0);
    expect(longer.isCut).toBe(true);
    expect(longer.example.inputIds).toEqual(Int32Array.from(ids("cuvw")));
    expect(longer.example).toMatchObject({ tokens: 3, bytes: 3 });
  });

  it("learns only the end of an empty completion, and nothing without a token for it", () => {
    expect(completionExample("ab", "", encoder(), 0).example).toMatchObject({
      tokens: 1,
      bytes: 0,
    });
    const nothing = completionExample("ab", "", encoder({ eos: false }), 0).example;
    expect(nothing.labels).toEqual(Int32Array.of(-100, -100));
    expect(nothing.tokens).toBe(0);
    const empty = completionExample("", "", encoder({ eos: false }), 0).example;
    expect([empty.inputIds, empty.labels]).toEqual([Int32Array.of(9), Int32Array.of(-100)]);
  });

  it("does not count a completion's first token without anything before it", () => {
    expect(completionExample("", "ab", encoder(), 0).example).toMatchObject({ tokens: 2 });
  });
});

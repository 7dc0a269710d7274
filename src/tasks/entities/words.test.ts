import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { joinWords, splitWords } from "./words.ts";

const words = (text: string, cuts?: number[]): string => {
  const { starts, ends } = splitWords(text, cuts);
  return starts.map((start, i) => text.slice(start, ends[i])).join(" | ");
};

describe("splitWords", () => {
  it.each([
    ["Hello, world!", "Hello | , | world | !"],
    ["It's the U.S. doesn't I'd dogs'", "It | 's | the | U.S. | does | n't | I | 'd | dogs | '"],
    ["O’Brien’s rock'n'roll '90s", "O’Brien | ’s | rock'n'roll | ' | 90s"],
    ["@paul #tag AT&T node.js 3.14-inch", "@paul | #tag | AT&T | node.js | 3.14-inch"],
    ["1,000.50 12:30 foo,bar ($5)", "1,000.50 | 12:30 | foo | , | bar | ( | $ | 5 | )"],
    ["see http://a.b/c?d=e. me@x.org...", "see | http://a.b/c?d=e | . | me@x.org | ..."],
    ["漢字かな ภา", "漢 | 字 | か | な | ภ | า"],
    ["👩‍👩‍👧 🇩🇪x 👍🏽", "👩‍👩‍👧 | 🇩🇪 | x | 👍🏽"],
    ["a\u0301b \0 한국어", "a\u0301b | \0 | 한국어"],
    [" \n\t", ""],
  ])("splits %j", (text, expected) => {
    expect(words(text)).toBe(expected);
  });

  it("cuts words where it is told to", () => {
    expect(words("New York-based firm", [0, 4, 8, 9, 14, 19])).toBe(
      "New | York | - | based | firm",
    );
  });

  it("leaves out white space alone, in any text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const { starts, ends } = splitWords(text);
        let at = 0;
        for (const [i, start] of starts.entries()) {
          expect(text.slice(at, start).trim()).toBe("");
          expect(ends[i]).toBeGreaterThan(start);
          at = ends[i]!;
        }
        expect(text.slice(at).trim()).toBe("");
      }),
    );
  });

  it("takes time in proportion to the text", () => {
    const text = "+-".repeat(50_000) + "a.".repeat(50_000) + "www.".repeat(20_000);
    const started = performance.now();
    splitWords(text);
    expect(performance.now() - started).toBeLessThan(3000);
  });
});

describe("joinWords", () => {
  it("places words between spaces, empty ones too", () => {
    expect(joinWords(["a", "", "b c"])).toEqual({
      text: "a  b c",
      starts: [0, 2, 3],
      ends: [1, 2, 6],
    });
  });
});

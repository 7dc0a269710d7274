import { describe, expect, test } from "vitest";
import { pythonRegExp } from "./python-regexp.ts";

const fullMatch = (source: string, text: string): boolean =>
  pythonRegExp(source, "^(?:%)$", "targetModules").test(text);

/** Pattern, text, whether Python 3.11's `re.fullmatch` finds it. */
const CASES: readonly (readonly [string, string, boolean])[] = [
  [String.raw`.*\.(q|v)_proj`, "model.layers.0.self_attn.q_proj", true],
  [String.raw`.*\.(q|v)_proj`, "model.layers.0.self_attn.k_proj", false],
  ["q_proj", "layers.q_proj", false],
  ["a|ab", "ab", true],
  [String.raw`.*h\.(?P<layer>\d)\.mlp\.(?P=layer)`, "h.3.mlp.3", true],
  [String.raw`.*h\.(?P<layer>\d)\.mlp\.(?P=layer)`, "h.3.mlp.4", false],
  [String.raw`\Ah\.\d{,2}\Z`, "h.12", true],
  [String.raw`h\.\d{,2}`, "h.123", false],
  ["(?i)H.[0-9]", "h.7", true],
  ["(?#layers)h(?:.[]0-3])+", "h.].2", true],
  ["h[^]0]", "h1", true],
  ["h[^]0]", "h]", false],
  ["h.(?!0)[0-9]+(?<!1)", "h.12", true],
  ["h.(?!0)[0-9]+(?<!1)", "h.21", false],
  [String.raw`\(a\)\{,2\}`, "(a){,2}", true],
];

describe("Python's regular expressions", () => {
  test.each(CASES)("%s on %s: %s", (pattern, text, expected) => {
    expect(fullMatch(pattern, text)).toBe(expected);
  });

  test("what would not end is stopped, and said", () => {
    const name = `model.layers.0.${"a".repeat(60)}`;
    for (const pattern of ["(.+)+x", `${".*".repeat(12)}x`]) {
      expect(() => fullMatch(pattern, name.slice(15))).toThrow(
        `targetModules: ${JSON.stringify(pattern)} takes more than a second to match "aaa`,
      );
    }
    // Repeated groups that end at once are fine.
    expect(fullMatch(String.raw`(?:\w+\.)+(a|b)+`, name)).toBe(true);
    expect(fullMatch(String.raw`(?:\w+\.)+b+`, name)).toBe(false);
  }, 30_000);

  test("what JavaScript cannot express, and what is none", () => {
    for (const pattern of ["(?>a)b", "a++", "(a)(?(1)b|c)", "(?x) a", "(", "[", "a{2}+"]) {
      expect(() => fullMatch(pattern, "a")).toThrow(
        `targetModules: ${JSON.stringify(pattern)} is not a regular expression that is understood here.`,
      );
    }
  });
});

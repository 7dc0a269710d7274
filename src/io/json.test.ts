import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findDuplicateKey, parseJson } from "./json.ts";

describe("parseJson", () => {
  it.each([
    ['{"a": 1,}', 1, 9, '"}"'],
    ['{\n  "a": 1\n  "b": 2\n}', 3, 3, '"\\"b\\": 2"'],
    ["[1, 2", 1, 6, "end of text"],
    ["", 1, 1, "end of text"],
    ['{"a": NaN}', 1, 7, '"NaN}"'],
    ["[1] 2", 1, 5, '"2"'],
    ["{'a': 1}", 1, 2, `"'a': 1}"`],
    ['["tab\tinside"]', 1, 2, '"\\"tab\\tinside\\"]"'],
    ["[01]", 1, 3, '"1]"'],
    ["]", 1, 1, '"]"'],
    ['{"a" 1}', 1, 6, '"1}"'],
    ["[1}", 1, 3, '"}"'],
  ])("finds the error in %j", (text, line, column, found) => {
    expect(parseJson(text)).toEqual({ problem: { line, column, found } });
  });

  it("gives what JSON.parse gives, for texts and for damaged texts", () => {
    fc.assert(
      fc.property(fc.json(), fc.nat(), fc.string({ maxLength: 2 }), (text, at, insert) => {
        expect(parseJson(text)).toEqual({ value: JSON.parse(text) });
        const cut = at % (text.length + 1);
        const damaged = text.slice(0, cut) + insert + text.slice(cut + 1);
        let valid = true;
        try {
          JSON.parse(damaged);
        } catch {
          valid = false;
        }
        expect("value" in parseJson(damaged)).toBe(valid);
      }),
    );
  });

  it("survives deep nesting", () => {
    expect(parseJson("[".repeat(200_000))).toMatchObject({ problem: { found: "end of text" } });
  });
});

describe("findDuplicateKey", () => {
  it("looks into every object, and only at keys", () => {
    expect(
      findDuplicateKey('{"a": 1, "b": {"a": 2}, "c": ["a", "a", {"a": "a"}]}'),
    ).toBeUndefined();
    expect(findDuplicateKey('{"a": 1, "\\u0061": 2}')).toBe("a");
    expect(findDuplicateKey('[{"x": {"y": 1, "y": 1}}]')).toBe("y");
    expect(findDuplicateKey('{"__proto__": 1, "constructor": 2}')).toBeUndefined();
  });

  it("finds none in what JSON.stringify wrote", () => {
    fc.assert(fc.property(fc.json(), (text) => findDuplicateKey(text) === undefined));
  });
});

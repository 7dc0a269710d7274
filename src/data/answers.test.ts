import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { answersOf, placeAnswer } from "./answers.ts";

describe("answersOf", () => {
  it.each<[unknown, unknown?]>([
    [{ text: ["Rome"], answer_start: [4] }],
    [[{ text: "Rome", answer_start: 4 }]],
    [[{ text: "Rome", start: "4" }]],
    [{ text: "Rome", start: 4 }],
    ["Rome", "4"],
    [["Rome"], [4]],
    [["Rome"], 4],
    [{ text: ["Rome"] }, [4]],
  ])("knows %j %j", (cell, starts) => {
    expect(answersOf(cell, starts)).toEqual([{ text: "Rome", start: 4 }]);
  });

  it("takes several answers, also without places", () => {
    const [paris, rome] = [{ text: "Paris" }, { text: "Rome" }];
    expect(answersOf(["Paris", "Rome"])).toEqual([paris, rome]);
    expect(answersOf({ text: ["Paris", "Rome"], answer_start: [0, 9] })).toEqual([
      { ...paris, start: 0 },
      { ...rome, start: 9 },
    ]);
    expect(answersOf([paris, { ...rome, answer_start: null }])).toEqual([paris, rome]);
    expect(answersOf(1066)).toEqual([{ text: "1066" }]);
  });

  it.each([[null], [""], ["  "], [[]], [{ text: [], answer_start: [] }], [[{ text: "" }]]])(
    "knows %j as no answer",
    (cell) => expect(answersOf(cell)).toEqual([]),
  );

  it.each<[unknown, string]>([
    [{ answer: "Rome" }, 'expected a text or {text, answer_start}, got {"answer":"Rome"}'],
    [true, "expected a text or {text, answer_start}, got true"],
    [[{ text: "Rome", start: 1.5 }], "expected a whole number as answer_start, got 1.5"],
    [{ text: "Rome", answer_start: "x" }, 'expected a whole number as answer_start, got "x"'],
  ])("refuses %j", (cell, message) => expect(answersOf(cell)).toBe(message));

  it("gives a list or a message for anything", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (cell, starts) => {
        const answers = answersOf(cell, starts);
        if (typeof answers === "string") return;
        for (const { text, start = 0 } of answers) {
          expect(text.trim()).not.toBe("");
          expect(Number.isInteger(start)).toBe(true);
        }
      }),
    );
  });
});

const at = (context: string, text: string, start?: number): unknown =>
  placeAnswer(context, start === undefined ? { text } : { text, start });
const span = (start: number, end: number, isUnique = true) => ({
  span: { start, end },
  isUnique,
});

describe("placeAnswer", () => {
  it("finds an answer at its place, without white space around it", () => {
    expect(at("in Rome, in Rome", "Rome", 12)).toEqual(span(12, 16));
    expect(at("in Rome, in Rome", " Rome,", 2)).toEqual(span(3, 8));
  });

  it("finds the first occurrence of an answer without place", () => {
    expect(at("in Rome", "Rome")).toEqual(span(3, 7));
    expect(at("in Rome, in Rome", "Rome")).toEqual(span(3, 7, false));
    expect(at("aaa", "aa")).toEqual(span(0, 2, false));
  });

  it("counts code points, as Python does, or else UTF-16 units", () => {
    const context = "😀😀 in Rome";
    expect(context.slice(8, 12)).toBe("Rome");
    expect(at(context, "Rome", 6)).toEqual(span(8, 12));
    expect(at(context, "Rome", 8)).toEqual(span(8, 12));
    expect(at("😀😀", "😀", 1)).toEqual(span(2, 4));
  });

  it("says why an answer has no place", () => {
    const [absent, elsewhere] = ["is not in the context", "is not at its place in the context"];
    expect(at("in Rome", "Paris")).toEqual({ problem: absent });
    expect(at("in Rome", "Paris", 3)).toEqual({ problem: absent });
    for (const start of [2, -1, 99]) {
      expect(at("in Rome", "Rome", start)).toEqual({ problem: elsewhere });
    }
    expect(at("😀 in Rome", "Rome", 99)).toEqual({ problem: elsewhere });
  });
});

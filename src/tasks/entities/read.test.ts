import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Table } from "../../data/table.ts";
import { LowrankError } from "../../errors.ts";
import {
  findTagColumns,
  readInputs,
  readTagged,
  sentenceOf,
  type TaggedSentences,
} from "./read.ts";

const table = (rows: Record<string, unknown>[]): Table => ({
  file: "data.json",
  columns: [...new Set(rows.flatMap((row) => Object.keys(row)))],
  unit: "row",
  rows: rows.map((values, i) => ({ line: i + 1, values })),
});

const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 8 }),
  fc.constantFrom("Ada 😀 lives", "New York", "漢字", "", " ", "\0", "e\u0301"),
);
const tag = fc.constantFrom("O", "B-x", "I-x", "E-y", "S-y", "B-", "x", "I", "");
const place = fc.integer({ min: -1, max: 9 });
const span = fc.oneof(
  fc.record({ start: place, end: place, label: fc.constantFrom("x", "y", "", "O") }),
  fc.tuple(place, place, fc.constantFrom("x", "y")),
  fc.record({ slot: fc.constant("x"), valueSpan: fc.record({ endIndex: place }) }),
  fc.anything(),
);
const lists = fc.record({
  tokens: fc.oneof({ weight: 5, arbitrary: fc.array(text, { maxLength: 4 }) }, fc.anything()),
  tags: fc.oneof({ weight: 5, arbitrary: fc.array(tag, { maxLength: 4 }) }, fc.anything()),
});
const texts = fc.record({
  text: fc.oneof({ weight: 5, arbitrary: text }, fc.anything()),
  spans: fc.oneof({ weight: 5, arbitrary: fc.array(span, { maxLength: 3 }) }, fc.anything()),
});

/** The result, or undefined where the error is one that a user can understand. */
function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    expect(error).toBeInstanceOf(LowrankError);
    expect((error as LowrankError).message).toMatch(/^data\.json: /);
    return undefined;
  }
}

/** Entities in order, of whole words, without overlap. */
function expectWellFormed({ sentences }: TaggedSentences): void {
  for (const { text: whole, starts, ends, entities } of sentences) {
    let last = 0;
    for (const entity of entities) {
      expect(entity.first).toBeGreaterThanOrEqual(last);
      expect(entity.last).toBeGreaterThan(entity.first);
      expect(entity.last).toBeLessThanOrEqual(starts.length);
      expect(whole.slice(starts[entity.first], ends[entity.last - 1])).not.toBe("");
      last = entity.last;
    }
  }
}

describe("readTagged", () => {
  it.each(["utf16", "characters"] as const)(
    "refuses with LowrankError or reads whole words (%s)",
    (spanUnit) => {
      let read = 0;
      fc.assert(
        fc.property(
          fc.oneof(
            fc.array(lists, { minLength: 1, maxLength: 3 }),
            fc.array(texts, { minLength: 1, maxLength: 3 }),
          ),
          (rows) => {
            const data = table(rows);
            const found = attempt(() =>
              readTagged(data, { spanUnit, ...findTagColumns(data, {}) }),
            );
            if (!found) return;
            read++;
            if (!("tokens" in rows[0]!)) expectWellFormed(found);
            expect(found.sentences).toHaveLength(rows.length);
            expect(readInputs(data, {})).toHaveLength(rows.length);
          },
        ),
        { numRuns: 1000, seed: 1 },
      );
      expect(read).toBeGreaterThan(50);
    },
  );

  it("places entities where they were", () => {
    const words = fc.array(fc.constantFrom("Ada", "don't", "😀", "漢字", "a-b", "."), {
      minLength: 1,
      maxLength: 6,
    });
    fc.assert(
      fc.property(
        words,
        fc.nat(5),
        fc.nat(5),
        fc.constantFrom("", " "),
        (list, a, b, separator) => {
          const whole = list.join(separator);
          const [from, to] = [Math.min(a, b), Math.max(a, b)].map((i) =>
            Math.min(i, list.length - 1),
          ) as [number, number];
          const start = list
            .slice(0, from)
            .map((word) => word + separator)
            .join("").length;
          const end = list.slice(0, to + 1).join(separator).length;
          const data = table([{ text: whole, spans: [{ start, end, label: "x" }] }]);
          const { sentences } = readTagged(data, {
            spanUnit: "utf16",
            ...findTagColumns(data, {}),
          });
          const { starts, ends, entities } = sentences[0]!;
          expect(entities).toHaveLength(1);
          expect([starts[entities[0]!.first], ends[entities[0]!.last - 1]]).toEqual([start, end]);
        },
      ),
    );
  });

  it("finds the columns, by numbers too", () => {
    const conll = { ...table([{ tokens: ["a"], column2: ["B-x"], tags: ["O"] }]) };
    expect(findTagColumns(conll, {})).toEqual({ tokensColumn: "tokens", tagsColumn: "tags" });
    expect(findTagColumns(conll, { tagsColumn: "2" }).tagsColumn).toBe("column2");
    expect(() => findTagColumns(conll, { tagsColumn: "4" })).toThrow(
      'data.json: no tags column "4". The columns are "tokens", "column2", "tags"; pass one with tagsColumn.',
    );
    const both = table([{ tokens: ["a"], text: "a", spans: [] }]);
    expect(findTagColumns(both, { textColumn: "text" })).toEqual({
      textColumn: "text",
      spansColumn: "spans",
    });
    expect(() => findTagColumns(table([{ a: 1, b: 2 }]), {})).toThrow(
      /^data\.json: no column has a usual name of a text/,
    );
  });
});

describe("sentenceOf", () => {
  it("takes tokens before a text", () => {
    expect(sentenceOf({ tokens: ["a", "b"], text: "c" }, "input 1")).toEqual({
      text: "a b",
      tokens: ["a", "b"],
      starts: [0, 2],
      ends: [1, 3],
    });
  });
});

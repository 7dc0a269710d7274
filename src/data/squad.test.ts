import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LowrankError } from "../errors.ts";
import { readJson } from "./json.ts";

const read = (document: unknown) => readJson("s.json", Buffer.from(JSON.stringify(document)));

function message(document: unknown): string {
  try {
    read(document);
  } catch (error) {
    if (error instanceof LowrankError && error.code === "data") return error.message;
    throw error;
  }
  throw new Error("expected an error");
}

const answer = { text: "Rome", answer_start: 0 };
const document = {
  version: "v2.0",
  data: [
    {
      title: "Towns",
      paragraphs: [
        {
          context: "Rome is old.",
          qas: [
            { id: "a", question: "What is old?", answers: [answer, answer], is_impossible: false },
            {
              id: "b",
              question: "Who?",
              answers: [],
              plausible_answers: [answer],
              is_impossible: true,
            },
          ],
        },
        { context: "Paris", qas: [{ id: 7, question: "?", answers: [{ text: "Paris" }] }] },
      ],
    },
    { paragraphs: [{ context: "Oslo", qas: [{ question: "Of a test?" }] }] },
    { title: "Nothing", paragraphs: [] },
  ],
};

const loose = (value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 8, arbitrary: value }, { weight: 1, arbitrary: fc.jsonValue() });

describe("SQuAD", () => {
  it("is read as a row a question", () => {
    const table = read(document);
    expect(table.columns).toEqual(["id", "title", "context", "question", "answers"]);
    expect(table.unit).toBe("row");
    expect(table.rows.map(({ line }) => line)).toEqual([1, 2, 3, 4]);
    const [first, second, third, fourth] = table.rows.map(({ values }) => values);
    const context = "Rome is old.";
    const shared = { title: "Towns", context };
    expect(first).toEqual({
      id: "a",
      question: "What is old?",
      answers: [answer, answer],
      ...shared,
    });
    expect(second).toEqual({ id: "b", question: "Who?", answers: [], ...shared });
    expect(third).toMatchObject({ id: 7, context: "Paris", answers: [{ text: "Paris" }] });
    expect(fourth).toEqual({ question: "Of a test?", title: undefined, context: "Oslo" });
  });

  it("is known by its content, whatever its version, also as a list of articles", () => {
    for (const version of [1.1, "1.1", null, undefined]) {
      expect(read({ ...document, version }).rows).toHaveLength(4);
    }
    expect(read(document.data).rows).toHaveLength(4);
    // The hub's form of the same data is a list of rows.
    const rows = [
      { id: "a", context: "Rome", question: "?", answers: { text: [], answer_start: [] } },
    ];
    expect(read({ version: "v2.0", data: rows }).columns).toContain("context");
  });

  it("lists what is not of that form, by its place", () => {
    const qas = [{ question: 5, answers: [] }, "x", { question: "?", answers: { text: ["a"] } }];
    const bad = [{ paragraphs: [{ qas }, { context: "a" }, null] }, { title: "b" }, 3];
    expect(message({ data: bad })).toBe(
      's.json: data[0].paragraphs[0]: expected a text "context", got undefined\n' +
        's.json: data[0].paragraphs[0].qas[0]: expected a text "question", got 5\n' +
        's.json: data[0].paragraphs[0].qas[1]: expected an object, got "x"\n' +
        's.json: data[0].paragraphs[0].qas[2]: expected a list "answers", got {"text":["a"]}\n' +
        's.json: data[0].paragraphs[1]: expected a list "qas", got undefined\n' +
        "(3 more). Write it in the form of SQuAD.",
    );
    expect(message({ version: 1, data: { paragraphs: [] } })).toContain(
      "expected a list of objects",
    );
  });

  it("gives a table or an error of our own for anything like it", () => {
    const record = (model: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> =>
      loose(fc.record(model, { requiredKeys: [] }));
    const list = (value: fc.Arbitrary<unknown>) => loose(fc.array(value, { maxLength: 3 }));
    const text = loose(fc.string());
    const answers = list(record({ text, answer_start: loose(fc.integer()) }));
    const question = record({
      id: text,
      question: text,
      answers,
      is_impossible: loose(fc.boolean()),
    });
    const paragraph = record({ context: text, qas: list(question) });
    const article = record({ title: text, paragraphs: list(paragraph) });
    let tables = 0;
    fc.assert(
      fc.property(record({ version: text, data: list(article) }), (value) => {
        try {
          for (const { values } of read(value).rows) expect(typeof values).toBe("object");
          tables++;
        } catch (error) {
          expect(error).toBeInstanceOf(LowrankError);
        }
      }),
      { numRuns: 500 },
    );
    expect(tables).toBeGreaterThan(20);
  });
});

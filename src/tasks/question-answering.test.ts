import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Table } from "../data/table.ts";
import { LowrankError } from "../errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { questionAnswering } from "./question-answering.ts";
import type { WindowExample } from "./questions/encode.ts";
import { findTask } from "./registry.ts";
import type { Encoder } from "./task.ts";

function table(rows: Record<string, unknown>[], file = "squad.json"): Table {
  return {
    file,
    columns: [...new Set(rows.flatMap((row) => Object.keys(row)))],
    unit: "row",
    rows: rows.map((values, i) => ({ line: i + 1, values })),
  };
}

/** A token a word, its length as id, "-" no token; [101] question [102] context [102]. */
const tokenizer: Pick<Tokenizer, "tokenize" | "wrap" | "specialTokens"> = {
  tokenize(text) {
    const words = [...text.matchAll(/[^\s-]+/g)];
    return {
      ids: Int32Array.from(words, ([word]) => word.length),
      starts: Int32Array.from(words, ({ index }) => index),
      ends: Int32Array.from(words, ({ 0: word, index }) => index + word.length),
    };
  },
  wrap([first, second = []]) {
    const ids = [101, ...Array.from(first), 102, ...Array.from(second), 102];
    const places = [1, first.length + 2];
    const typeIds = Int32Array.from(ids, (_, i) => (i < places[1]! ? 0 : 1));
    return { ids: Int32Array.from(ids), typeIds, places };
  },
  specialTokens: () => 3,
};

const encoder = (maxLength: number): Encoder => ({
  maxLength,
  emptyToken: 0,
  tokenizer: tokenizer as Tokenizer,
  encode: () => ({ ids: [], truncated: 0 }),
});

const context = "Rome is in Italy and Oslo in Norway";
const rows = [
  { id: "a", context, question: "Where is Oslo?", answers: [{ text: "Norway", answer_start: 29 }] },
  { id: "b", context, question: "What is in Italy?", answers: [{ text: "Rome", answer_start: 0 }] },
  { id: "c", context, question: "Where is Paris?", answers: [] },
];
const task = questionAnswering.create(table(rows), { stride: 2 });

function examplesOf(
  data: Record<string, unknown>[],
  { maxLength = 64 } = {},
): { examples: WindowExample[]; truncated: number; warnings: readonly string[] } {
  const { examples, truncated, warnings = [] } = task.readExamples(table(data), encoder(maxLength));
  return { examples: examples as WindowExample[], truncated, warnings };
}

const positions = (examples: readonly WindowExample[]): [number, number][] =>
  examples.map(({ start, end }) => [start, end]);

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof LowrankError) return error.message;
    throw error;
  }
  throw new Error("expected an error");
}

/** Logits of 0 but for those given by [row, start, end, height]; null logits as given. */
function outputsOf(
  examples: readonly WindowExample[],
  peaks: readonly (readonly [number, number, number, number])[],
  { nullLogit = 0, length = 16 } = {},
) {
  const shape = [examples.length, length];
  const tensor = (at: 1 | 2) => {
    const data = new Float32Array(examples.length * length);
    for (const row of examples.keys()) data[row * length] = nullLogit;
    for (const peak of peaks) data[peak[0] * length + peak[at]] = peak[3];
    return { dtype: "float32" as const, shape, data };
  };
  return { start_logits: tensor(1), end_logits: tensor(2) };
}

function predict(
  inputs: Record<string, unknown>[],
  peaks: Parameters<typeof outputsOf>[1],
  { nullLogit = 0, maxLength = 64, length = 16, using = task } = {},
) {
  const { examples } = using.inputExamples(inputs, encoder(maxLength));
  const outputs = outputsOf(examples as WindowExample[], peaks, { nullLogit, length });
  const results = examples.map((example, row) => using.decode(outputs, row, example));
  return using.predictions(inputs, examples, results);
}

describe("rows of tokens", () => {
  it("hold question and context, segments, and the answer's first and last token", () => {
    const { examples } = examplesOf([
      { ...rows[0], answers: [{ text: "in Norway", answer_start: 26 }] },
      rows[2]!,
    ]);
    expect(examples[0]!.inputIds).toEqual(
      Int32Array.of(101, 5, 2, 5, 102, 4, 2, 2, 5, 3, 4, 2, 6, 102),
    );
    expect(examples[0]!.tokenTypeIds).toEqual(
      Int32Array.from({ length: 14 }, (_, i) => (i < 5 ? 0 : 1)),
    );
    expect(positions(examples)).toEqual([
      [11, 12],
      [0, 0],
    ]);
  });

  it("cover an answer that begins or ends inside of tokens", () => {
    const { examples } = examplesOf([
      { ...rows[0], answers: [{ text: "aly and Os", answer_start: 13 }] },
      { ...rows[0], context: "in - Italy", answers: [{ text: "- Italy", answer_start: 3 }] },
      { ...rows[0], context: "in - Italy", answers: [{ text: "-", answer_start: 3 }] },
    ]);
    // The last one has no tokens: nothing is learned from it.
    expect(positions(examples)).toEqual([
      [8, 10],
      [6, 6],
      [-100, -100],
    ]);
  });

  it("are several windows of a long context; those without the whole answer learn position 0", () => {
    const { examples } = examplesOf(rows, { maxLength: 10 });
    expect(examples).toHaveLength(3 * 3);
    expect(examples.slice(0, 3).map(({ from, count, place }) => [from, count, place])).toEqual([
      [0, 4, 5],
      [2, 4, 5],
      [4, 4, 5],
    ]);
    expect(examples[2]!.inputIds).toEqual(Int32Array.of(101, 5, 2, 5, 102, 3, 4, 2, 6, 102));
    expect(positions(examples)).toEqual([
      ...([
        [0, 0],
        [0, 0],
        [8, 8],
      ] as const),
      ...([
        [5, 5],
        [0, 0],
        [0, 0],
      ] as const),
      ...([
        [0, 0],
        [0, 0],
        [0, 0],
      ] as const),
    ]);
  });

  it("cut a question to half of the room, and count it", () => {
    const question = Array.from({ length: 40 }, () => "w").join(" ");
    const { examples, truncated } = examplesOf([{ ...rows[0], question }], { maxLength: 13 });
    expect(truncated).toBe(1);
    expect(examples[0]!.place).toBe(5 + 2);
    expect(examples.every(({ inputIds }) => inputIds.length <= 13)).toBe(true);
  });

  it("take contexts of one token and of none", () => {
    const { examples } = examplesOf([
      { ...rows[0], context: "Norway", answers: ["Norway"] },
      { ...rows[0], context: "-", answers: [] },
    ]);
    expect(positions(examples)).toEqual([
      [5, 5],
      [0, 0],
    ]);
    expect(examples[1]!.count).toBe(0);
  });

  it("need room for question and context", () => {
    expect(message(() => examplesOf(rows, { maxLength: 4 }))).toBe(
      "maxLength: expected at least 5 tokens, for 3 special ones, question and context, got 4.",
    );
  });

  it("are filled up in batches with rows that have no label", () => {
    const { examples } = examplesOf(rows);
    const feeds = task.collate(examples, { batch: 4, length: 20 }, 0);
    expect(feeds["start_positions"]!.data).toEqual(Int32Array.of(12, 6, 0, -100));
    expect(feeds["end_positions"]!.data).toEqual(Int32Array.of(12, 6, 0, -100));
    expect(feeds["token_type_ids"]!.data.slice(0, 6)).toEqual(Int32Array.of(0, 0, 0, 0, 0, 1));
    expect(task.countLabels(feeds)).toBe(3);
  });
});

describe("reading", () => {
  it("finds the columns of other data, also those of training", () => {
    const named = [{ q: "Who?", passage: "Ann", gold: "Ann", text: "x" }];
    const columns = { questionColumn: "q", answersColumn: "gold" };
    const own = questionAnswering.create(table(named), columns);
    expect(own.readInputs(table(named))).toEqual([{ question: "Who?", context: "Ann" }]);
    expect(own.readExamples(table(named), encoder(32)).examples).toHaveLength(1);
    expect(own.readInputs(table(rows))[0]).toEqual({
      id: "a",
      question: "Where is Oslo?",
      context,
    });
    expect(message(() => questionAnswering.create(table(named), {}))).toContain(
      "no column has a usual name of a question column",
    );
  });

  it("takes places from a column of their own, as CSV has them", () => {
    const csv = [{ question: "?", context: "b a b", answer: "b", answer_start: "4" }];
    const own = questionAnswering.create(table(csv), {});
    const { examples, warnings } = own.readExamples(table(csv), encoder(32));
    expect(warnings).toEqual([]);
    expect(positions(examples as WindowExample[])).toEqual([[5, 5]]);
  });

  it("reports answers that are not where or what they should be, and learns nothing from them", () => {
    const { examples, warnings } = examplesOf([
      rows[0]!,
      { ...rows[0], id: "x", answers: [{ text: "Norway", answer_start: 28 }] },
      { ...rows[0], id: "y", answers: ["Sweden"] },
      { ...rows[0], id: "z", answers: [{ text: "in" }] },
      { ...rows[0], id: "a", answers: [{ text: "?", answer_start: 0 }, { text: "Oslo" }] },
    ]);
    expect(positions(examples)).toEqual([
      [12, 12],
      [-100, -100],
      [-100, -100],
      [7, 7],
      [10, 10],
    ]);
    expect(warnings).toEqual([
      "squad.json: questions that teach nothing, since no answer is found at its place: 2\n" +
        'squad.json: row 2 (id "x"): "Norway" is not at its place in the context\n' +
        'squad.json: row 3 (id "y"): "Sweden" is not in the context. ' +
        "Correct the answers, or where they start: answer_start counts characters from 0.",
      "squad.json: answers without a place that occur several times in their context, of which the first is taken: 1\n" +
        'squad.json: row 4 (id "z"): "in". Give each its answer_start.',
      'squad.json: ids that occur more than once: 1\n"a". Every row counts as a question of its own.',
    ]);
  });

  it("reports answers that are too long to be predicted", () => {
    const short = questionAnswering.create(table(rows), { maxAnswerTokens: 1 });
    const data = [{ ...rows[0], answers: [{ text: "in Norway", answer_start: 26 }] }];
    expect(short.readExamples(table(data), encoder(64)).warnings).toEqual([
      "squad.json: answers of more than 1 tokens, which are never predicted: 1. " +
        "Choose a larger maxAnswerTokens.",
    ]);
  });

  it("refuses empty texts, missing and misshapen answers, and data without answers", () => {
    const bad = [
      { ...rows[0], question: " " },
      { ...rows[0], context: "" },
    ];
    expect(message(() => examplesOf(bad))).toBe(
      'squad.json: row 1: column "question" is empty. Give each row a text or remove it.',
    );
    expect(message(() => examplesOf([bad[1]!]))).toContain('row 1: column "context" is empty');
    const [, second] = rows;
    expect(
      message(() =>
        examplesOf([
          { ...second, answers: undefined },
          { ...second, answers: true as unknown },
        ]),
      ),
    ).toBe(
      'squad.json: row 1: column "answers": expected answers, got nothing\n' +
        'squad.json: row 2: column "answers": expected a text or {text, answer_start}, got true. ' +
        "Give each row its answers, an empty list or text where there is none.",
    );
    expect(message(() => questionAnswering.create(table([rows[2]!]), {}))).toBe(
      "squad.json: no question has an answer. There is no answer to learn from.",
    );
    const lost = [{ ...rows[0], answers: ["Sweden"] }];
    expect(message(() => questionAnswering.create(table(lost), {}))).toContain(
      '"Sweden" is not in the context. Correct the answers',
    );
  });

  it("takes a row that is marked as impossible as one without answer", () => {
    const data = [{ ...rows[0], is_impossible: true }];
    expect(positions(examplesOf(data).examples)).toEqual([[0, 0]]);
  });

  it("puts questions about the same context into one group", () => {
    const other = { ...rows[0], context: "Rome" };
    expect(questionAnswering.groups!(table([rows[0]!, other, rows[1]!]), {})).toEqual([0, 1, 0]);
  });
});

describe("predictions", () => {
  const inputs = [{ question: "Where is Oslo?", context }];

  it("are the best span with its place in the context", () => {
    const [answer] = predict(inputs, [[0, 11, 12, 9]]);
    expect(answer).toMatchObject({ answer: "in Norway", start: 26, end: 35, noAnswer: false });
    expect(answer!.score).toBeGreaterThan(0.95);
    expect(answer!.nullDifference).toBe(-18);
    expect(task.lines(answer!)).toEqual([["in Norway", answer!.score, 26, 35]]);
  });

  it("are of the context only, in order, whatever other tokens have", () => {
    const peaks = [
      [0, 2, 3, 50], // of the question
      [0, 13, 13, 40], // [SEP]
      [0, 12, 10, 9], // the end before the start
      [0, 14, 15, 60], // padding
    ] as const;
    expect(predict(inputs, peaks)[0]!.answer).toBe("in Norway".slice(3));
  });

  it("do not depend on padding", () => {
    const peaks = [[0, 10, 11, 3]] as const;
    expect(predict(inputs, peaks, { length: 40 })).toEqual(predict(inputs, peaks));
  });

  it("are the best of all windows", () => {
    const options = { maxLength: 10, length: 10 };
    const peaks = [
      [0, 5, 5, 2],
      [2, 7, 8, 4],
    ] as const;
    const both = [...inputs, { question: "Where is Rome?", context: "Italy" }];
    const [first, second] = predict(both, [...peaks, [3, 5, 5, 1]], options);
    expect([first!.answer, second!.answer]).toEqual(["in Norway", "Italy"]);
  });

  it("are none where that is likelier by more than the threshold", () => {
    const peaks = [[0, 12, 12, 2]] as const;
    const [none] = predict(inputs, peaks, { nullLogit: 3 });
    expect(none).toMatchObject({ answer: "", start: 0, end: 0, noAnswer: true, nullDifference: 2 });
    expect(task.lines(none!)[0]![0]).toBe("(no answer)");
    const lenient = questionAnswering.restore({ ...task.state, nullThreshold: 2 }, "lowrank.json");
    const [some] = predict(inputs, peaks, { nullLogit: 3, using: lenient });
    expect(some).toMatchObject({ answer: "Norway", noAnswer: false, nullDifference: 2 });
  });

  it("always are an answer where training knew no question without one", () => {
    const always = questionAnswering.create(table(rows.slice(0, 2)), {});
    const [answer] = predict(inputs, [[0, 12, 12, 2]], { nullLogit: 30, using: always });
    expect(Object.keys(answer!)).toEqual(["answer", "score", "start", "end"]);
    const [nothing] = predict([{ question: "?", context: "-" }], [], { using: always });
    expect(nothing).toEqual({ answer: "", score: 0, start: 0, end: 0, noAnswer: true });
  });

  it("list the best candidates on request, no answer among them, the predicted one first", () => {
    const several = questionAnswering.restore({ ...task.state, nBest: 2 }, "lowrank.json");
    const lenient = questionAnswering.restore(
      { ...task.state, nBest: 2, nullThreshold: 9 },
      "lowrank.json",
    );
    const [unlikely] = predict(inputs, [[0, 12, 12, 2]], { nullLogit: 3, using: lenient });
    expect(unlikely!.nBest).toMatchObject([{ answer: "Norway" }, { answer: "" }]);
    expect(unlikely!.nBest![0]!.score).toBeLessThan(unlikely!.nBest![1]!.score);
    const [answer] = predict(inputs, [[0, 12, 12, 4]], { nullLogit: 3, using: several });
    expect(answer!.nBest).toMatchObject([{ answer: "Norway" }, { answer: "" }]);
    expect(answer!.score).toBe(answer!.nBest![0]!.score);
    expect(several.lines(answer!)).toHaveLength(2);
  });

  it("need a question and a context", () => {
    expect(message(() => predict([{ question: "?" }], []))).toBe(
      "input 1: context: expected a text, got undefined. Pass an object with its fields.",
    );
    expect(message(() => predict([...inputs, { question: " ", context }], []))).toBe(
      "input 2: question: expected a text, got an empty one. Pass a question and a context for it.",
    );
  });
});

describe("metrics", () => {
  it("compare texts, with the parts of questions with and without answer", () => {
    const { examples } = examplesOf([
      ...rows,
      { ...rows[0], answers: [{ text: "Sweden" }, { text: "Norway!" }] },
    ]);
    const peaks = [0, 1, 2, 3].map((row) => [row, 12, 12, 5] as const);
    const outputs = outputsOf(examples, peaks);
    const results = examples.map((example, row) => task.decode(outputs, row, example));
    const { scalars, details } = task.metrics(examples, results);
    expect(scalars).toEqual({ exactMatch: 0.5, f1: 0.5 });
    expect(details["hasAnswer"]).toEqual({ questions: 3, exactMatch: 2 / 3, f1: 2 / 3 });
    expect(details["noAnswer"]).toEqual({ questions: 1, exactMatch: 0, f1: 0 });
    expect(JSON.parse(JSON.stringify(details))).toEqual(details);
    expect(task.tables({ scalars, details }).map(({ title }) => title)).toEqual([
      "Questions",
      "Best null thresholds on these questions",
    ]);
  });
});

describe("the task", () => {
  it("is the same after its state went through JSON", () => {
    const state: unknown = JSON.parse(JSON.stringify(task.state));
    const restored = questionAnswering.restore(state, "lowrank.json");
    expect(JSON.parse(JSON.stringify(restored.state))).toEqual(state);
    expect(state).toEqual({
      questionColumn: "question",
      contextColumn: "context",
      answersColumn: "answers",
      stride: 2,
      maxAnswerTokens: 30,
      nullThreshold: 0,
      dropTokenTypes: false,
      nBest: 1,
    });
    expect(message(() => questionAnswering.restore({ stride: "x" }, "lowrank.json"))).toMatch(
      /^lowrank\.json: not a question answering task: stride: .*\. Train the adapter again\.$/,
    );
  });

  it("uses no token types for an adapter of PEFT, whose class drops them", () => {
    const { state } = questionAnswering.fromConfig({}, 2);
    expect(state).toMatchObject({ dropTokenTypes: true, stride: 128, maxAnswerTokens: 30 });
    expect(state["nullThreshold"]).toBeUndefined();
  });

  it("is found by its names", () => {
    for (const name of ["qa", "extractive-qa", "QUESTION_ANS"]) {
      expect(findTask(name)).toBe(questionAnswering);
    }
  });
});

it("labels an answer in the windows that hold it, or refuses, whatever the data", () => {
  const piece = fc.constantFrom("Rome", " ", "-", "😀", "\ud83d", "\n", "漢", "it is", "\u0000");
  const text = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(""));
  const answer = fc.record(
    { text, answer_start: fc.oneof(fc.integer({ min: -2, max: 20 }), fc.jsonValue()) },
    { requiredKeys: ["text"] },
  );
  const answers = fc.oneof(fc.array(answer, { maxLength: 2 }), text, fc.jsonValue());
  const anything = fc.record({ question: text, context: text, answers });
  const cut = fc.tuple(text, text, fc.nat(), fc.nat()).map(([question, context, a, b]) => {
    const [from, to] = [a % (context.length + 1), b % (context.length + 1)].sort((x, y) => x - y);
    const answers = [{ text: context.slice(from, to), answer_start: from }];
    return { question, context, answers };
  });
  const row = fc.oneof(cut, cut, anything);
  let labelled = 0;
  fc.assert(
    fc.property(
      fc.array(row, { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 3, max: 20 }),
      (data, maxLength) => {
        let examples: readonly WindowExample[];
        try {
          ({ examples } = examplesOf(data, { maxLength }));
        } catch (error) {
          if (error instanceof LowrankError) return;
          throw error;
        }
        for (const { inputIds, start, end, place, count, question, offsets, from } of examples) {
          expect(inputIds.length).toBeLessThanOrEqual(maxLength);
          expect(place + count).toBeLessThanOrEqual(inputIds.length);
          if (start < place) continue;
          labelled++;
          expect(end).toBeGreaterThanOrEqual(start);
          expect(end).toBeLessThan(place + count);
          const { context, target } = question;
          const [first, last] = [from + start - place, from + end - place];
          const found = context.slice(offsets.starts[first], offsets.ends[last]);
          const { start: begin, end: stop } = target as { start: number; end: number };
          // Whole tokens around the answer, of which white space and hyphens are none.
          expect(found).toContain(context.slice(begin, stop).replaceAll(/^[\s-]+|[\s-]+$/g, ""));
        }
      },
    ),
    { numRuns: 500, seed: 7 },
  );
  expect(labelled).toBeGreaterThan(50);
});

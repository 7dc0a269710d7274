import { describe, expect, it } from "vitest";
import type { Table } from "../data/table.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { causalLm } from "./causal-lm.ts";
import { findTask } from "./registry.ts";
import type { Encoder } from "./task.ts";

function table(rows: Record<string, unknown>[], more: Partial<Table> = {}): Table {
  return {
    file: "data.csv",
    columns: Object.keys(rows[0]!),
    unit: "line",
    rows: rows.map((values, i) => ({ line: i + 2, values })),
    ...more,
  };
}

/** A token a letter, no special ones. */
const tokenizer = {
  eosTokenId: undefined,
  encode: (text: string) => ({ ids: Array.from(text, (c) => c.charCodeAt(0)), typeIds: [] }),
  wrap: ([ids]: [ArrayLike<number>]) => ({ ids: Int32Array.from(Array.from(ids)), places: [0] }),
  specialTokens: () => 0,
  decode: (ids: number[]) => String.fromCharCode(...ids),
} as unknown as Tokenizer;
const encoder: Encoder = {
  maxLength: 4,
  emptyToken: 0,
  tokenizer,
  encode: () => ({ ids: [], truncated: 0 }),
};

const texts = table([{ text: "abcdef" }, { text: "xy" }]);
const pairs = table([{ prompt: "ab", completion: "c" }]);
const format = (rows: Record<string, unknown>[], options = {}): unknown =>
  causalLm.create(table(rows), options).state["format"];

describe("causal language modelling", () => {
  it("finds texts, or prompts with completions, by the columns", () => {
    expect(causalLm.create(texts, {}).state).toEqual({ format: "text", textColumn: "text" });
    expect(causalLm.create(pairs, {}).state).toEqual({
      format: "completion",
      promptColumn: "prompt",
      completionColumn: "completion",
    });
    expect(format([{ question: "a", answer: "b" }])).toBe("completion");
    expect(format([{ prompt: "a", completion: "b", text: "c" }])).toBe("text");
    expect(format([{ prompt: "a", completion: "b" }], { textColumn: "prompt" })).toBe("text");
    expect(
      format([{ text: "a", next: "b" }], { promptColumn: "text", completionColumn: "next" }),
    ).toBe("completion");
    expect(() => format([{ a: "x", b: "y", c: "z" }])).toThrow(
      "data.csv: no column has a usual name of a text column",
    );
    expect(() => format([{ a: "x", b: "y" }], { promptColumn: "a" })).toThrow(
      "no column has a usual name of a completion column",
    );
  });

  it("feeds labels that ignore prompts, padding and rows that fill up", () => {
    const task = causalLm.restore(
      JSON.parse(JSON.stringify(causalLm.create(pairs, {}).state)),
      "x",
    );
    const { examples, truncated } = task.readExamples(pairs, encoder);
    const feeds = task.collate(examples, { batch: 2, length: 4 }, 7);
    expect(feeds["input_ids"]!.data).toEqual(Int32Array.of(97, 98, 99, 7, 7, 7, 7, 7));
    expect(feeds["labels"]!.data).toEqual(
      Int32Array.of(-100, -100, 99, -100, -100, -100, -100, -100),
    );
    expect([task.countLabels(feeds), truncated]).toEqual([1, 0]);
    expect(task.details).toEqual(task.state);
  });

  it("joins the lines of a running text", () => {
    const task = causalLm.create(texts, {});
    const lines = table([{ text: "abc" }, { text: "" }, { text: "d" }], { isRunningText: true });
    const { examples } = task.readExamples(lines, encoder);
    const shown = examples.map(({ inputIds }) => String.fromCharCode(...inputIds));
    expect(shown).toEqual(["abc\n", "\n\nd\n"]);
    expect(task.readExamples(texts, encoder).examples).toHaveLength(3);
  });

  it("measures perplexity and bits per byte over all tokens", () => {
    const task = causalLm.create(texts, {});
    const { examples } = task.readExamples(texts, encoder);
    // abcd, def, xy: 3 + 2 + 1 tokens, as many bytes.
    const metrics = task.metrics(examples, [3, 2, 7]);
    expect(metrics.scalars["perplexity"]).toBeCloseTo(Math.exp(2), 12);
    expect(metrics.scalars["bitsPerByte"]).toBeCloseTo(2 / Math.LN2, 12);
    expect(metrics.details).toEqual({ tokens: 6, bytes: 6 });
    expect(task.tables(metrics)[0]!.rows).toEqual([[6, 6]]);
    expect(task.lowerIsBetter).toEqual(task.metricNames);
    expect(task.metrics([], []).scalars).toEqual({ perplexity: 1, bitsPerByte: 0 });
    expect(task.metrics(examples, [1e4, 0, 0]).scalars["perplexity"]).toBe(Number.MAX_VALUE);
  });

  it("predicts for each text, whatever the number of its stretches", () => {
    const task = causalLm.create(texts, {});
    const inputs = task.readInputs(texts);
    const { examples } = task.inputExamples(inputs, encoder);
    const predictions = task.predictions(inputs, examples, [3, 2, 7]);
    expect(predictions).toMatchObject([
      { nll: 5, tokens: 5, perplexity: Math.E },
      { nll: 7, tokens: 1 },
    ]);
    expect(task.lines(predictions[0]!)).toEqual([[Math.E, 5, 5]]);
    const nll = { dtype: "float32" as const, shape: [2], data: Float32Array.of(1, 2) };
    expect(task.decode({ nll }, 1, examples[1]!)).toBe(2);
  });

  it("is found by its names, and refuses another task's state", () => {
    for (const name of ["causal-lm", "clm", "language-modeling", "CAUSAL_LM"]) {
      expect(findTask(name)).toBe(causalLm);
    }
    expect(() => causalLm.restore({ labels: ["a"] }, "lowrank.json")).toThrow(
      /^lowrank\.json: not a causal language modelling task: format: /,
    );
  });

  it("reads of a model from elsewhere what a table has: texts, or prompts with completions", () => {
    const task = causalLm.fromConfig({}, 0);
    expect(task.fields).toEqual(["text"]);
    expect(causalLm.restore(task.state, "lowrank.json").state).toEqual(task.state);
    for (const table of [texts, pairs]) {
      const own = causalLm.create(table, {});
      const { examples } = own.readExamples(table, encoder);
      expect(task.readExamples(table, encoder).examples).toEqual(examples);
      expect(task.inputExamples(task.readInputs(table), encoder).examples).toEqual(examples);
    }
  });

  it("asks for the prompt where two columns could be it", () => {
    expect(() => format([{ instruction: "a", input: "b", output: "c" }])).toThrow(
      '"instruction" and "input" could each be the prompt column. The columns are "instruction", "input", "output"; pass one with promptColumn.',
    );
    expect(format([{ input: "b", output: "c" }])).toBe("completion");
  });
});

import { describe, expect, it } from "vitest";
import type { Table } from "../data/table.ts";
import { findTask } from "./registry.ts";
import { sequenceClassification } from "./sequence-classification.ts";
import type { Encoder } from "./task.ts";

function table(rows: Record<string, unknown>[], file = "data.csv"): Table {
  return {
    file,
    columns: Object.keys(rows[0]!),
    unit: "line",
    rows: rows.map((values, i) => ({ line: i + 2, values })),
  };
}

/** A token a letter. */
const letters: Encoder = {
  maxLength: 8,
  emptyToken: 0,
  tokenizer: undefined as never, // not used by this task
  encode: (texts) => ({
    ids: texts.map((text) => Int32Array.from(text, (letter) => letter.charCodeAt(0))),
    truncated: 0,
  }),
};

const train = table([
  { Message: "ab", Kind: "spam" },
  { Message: "c", Kind: "ham" },
  { Message: "", Kind: "ham" },
]);
const columns = { textColumn: "Message", labelColumn: "Kind" };

/** The problem of an adapter from elsewhere. */
function problem(config: Record<string, unknown>, headRows: number): unknown {
  return sequenceClassification.fromConfig(config, headRows).modelConfig["problem_type"];
}

/** The labels of a task on a head with these. */
function labels(head: readonly string[], stays = false): unknown {
  return sequenceClassification.create(train, columns, { labels: head, stays }).details["labels"];
}

describe("sequence classification", () => {
  it("takes its labels from the data, into the model's configuration", () => {
    const task = sequenceClassification.create(train, columns);
    expect(task.modelConfig).toEqual({
      id2label: { 0: "ham", 1: "spam" },
      label2id: { ham: 0, spam: 1 },
      num_labels: 2,
      problem_type: "single_label_classification",
    });
    const numbers = table([10, 9, 9].map((label) => ({ text: "x", label })));
    expect(sequenceClassification.create(numbers, {}).details).toEqual({
      problemType: "single",
      labels: ["9", "10"],
    });
  });

  it("is the same after its state went through JSON, and looks for the same columns", () => {
    const task = sequenceClassification.create(train, { ...columns, classWeights: "balanced" });
    const state: unknown = JSON.parse(JSON.stringify(task.state));
    const restored = sequenceClassification.restore(state, "lowrank.json");
    expect(restored.state).toEqual(task.state);
    expect(restored.details["classWeights"]).toEqual([0.75, 1.5]);
    const other = table([{ Message: "a", Kind: "spam", text: "wrong" }], "test.csv");
    const { examples } = restored.readExamples(other, letters);
    expect(examples).toEqual([{ inputIds: Int32Array.of(97), target: 1 }]);
    expect(restored.readInputs(table([{ text: "elsewhere" }]))).toEqual([{ text: "elsewhere" }]);
    expect(() => sequenceClassification.restore({}, "lowrank.json")).toThrow(
      /^lowrank\.json: not a sequence classification task: labels: .*\. Train the adapter again\.$/,
    );
  });

  it("fills a batch up with rows of one token and no label", () => {
    const task = sequenceClassification.create(train, { ...columns, classWeights: "balanced" });
    const { examples } = task.readExamples(train, letters);
    const feeds = task.collate(examples.slice(0, 2), { batch: 3, length: 4 }, 9);
    expect(feeds["input_ids"]!.data).toEqual(Int32Array.of(97, 98, 9, 9, 99, 9, 9, 9, 9, 9, 9, 9));
    expect(feeds["attention_mask"]!.data).toEqual(
      Int32Array.of(1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0),
    );
    expect(feeds["labels"]!.data).toEqual(Int32Array.of(1, 0, -100));
    expect(task.countLabels(feeds)).toBe(0.75 + 1.5);
  });

  it("gives label, score and all scores, and metrics as tables", () => {
    const task = sequenceClassification.create(train, columns);
    const data = Float32Array.of(0, Math.log(3), 1000, -1000);
    const logits = { dtype: "float32" as const, shape: [2, 2], data };
    const { examples } = task.readExamples(train, letters);
    const results = [0, 1].map((row) => task.decode({ logits }, row, examples[row]!));
    const [first, second] = task.predictions([], [], results);
    expect(first.label).toBe("spam");
    expect(first.score).toBeCloseTo(0.75, 6);
    expect(first.scores.ham).toBeCloseTo(0.25, 6);
    expect(task.lines(first)).toEqual([["spam", first.score]]);
    expect(second).toEqual({ label: "ham", score: 1, scores: { ham: 1, spam: 0 } });
    const metrics = task.metrics(examples.slice(0, 2), results);
    expect(metrics.scalars).toEqual({ accuracy: 1, macroF1: 1 });
    expect(task.tables(metrics)[1]!.rows).toEqual([
      ["ham", 1, 0],
      ["spam", 0, 1],
    ]);
  });

  it("lists the largest confusions where a matrix of all labels would be too wide", () => {
    const labels = Array.from({ length: 21 }, (_, id) => `l${id}`);
    const many = sequenceClassification.fromConfig({ id2label: { ...labels } }, labels.length);
    const pairs = [
      [0, 1],
      [0, 1],
      [2, 2],
      [20, 3],
    ]; // true, predicted
    const examples = pairs.map(([target]) => ({ inputIds: Int32Array.of(97), target }));
    const outputs = pairs.map(([, predicted]) =>
      Float32Array.from(labels, (_, id) => Number(id === predicted)),
    );
    expect(many.tables(many.metrics(examples, outputs))[1]).toEqual({
      title: "Largest confusions, 2 of 2",
      columns: ["true", "predicted", "examples"],
      rows: [
        ["l0", "l1", 2],
        ["l20", "l3", 1],
      ],
    });
  });

  it("names an adapter's labels by the base's configuration where their number fits", () => {
    const id2label = { 0: "no", 1: "yes" };
    const { fromConfig } = sequenceClassification;
    expect(fromConfig({ id2label }, 2).details["labels"]).toEqual(["no", "yes"]);
    expect(fromConfig({ id2label }, 3).details["labels"]).toEqual([
      "LABEL_0",
      "LABEL_1",
      "LABEL_2",
    ]);
  });

  it("takes an adapter's problem from the base's configuration, one output for a number", () => {
    expect(problem({}, 1)).toBe("regression");
    expect(problem({ problem_type: null }, 2)).toBe("single_label_classification");
    expect(problem({ problem_type: "multi_label_classification" }, 2)).toBe(
      "multi_label_classification",
    );
  });

  it("keeps the order of a head's labels where they are the data's", () => {
    expect(labels(["spam", "ham"])).toEqual(["spam", "ham"]);
    expect(labels(["LABEL_0", "LABEL_1"])).toEqual(["ham", "spam"]);
    expect(labels(["spam", "ham", "other"])).toEqual(["ham", "spam"]);
  });

  it("keeps all labels of a head that stays, and has no others", () => {
    expect(labels(["spam", "other", "ham"], true)).toEqual(["spam", "other", "ham"]);
    expect(() => labels(["spam", "eggs"], true)).toThrow(
      "adapter: expected the labels that it was trained for (spam, eggs), got also ham. Leave these out, or train a new adapter.",
    );
  });

  it("is found by its names", () => {
    expect(findTask("SEQ_CLS")).toBe(sequenceClassification);
    expect(findTask("text-classification")).toBe(sequenceClassification);
    expect(() => findTask("translation", "--task")).toThrow(
      '--task: there is no task "translation". Tasks: sequence-classification, ',
    );
  });
});

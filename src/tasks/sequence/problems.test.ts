/** @file Multi-label classification and regression as tasks: what they read, feed, measure and predict. */
import { describe, expect, it } from "vitest";
import type { Table } from "../../data/table.ts";
import { sequenceClassification } from "../sequence-classification.ts";
import type { Encoder, Outputs } from "../task.ts";

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
  tokenizer: undefined as never, // not used by single texts
  encode: (texts) => ({
    ids: texts.map((text) => Int32Array.from(text, (letter) => letter.charCodeAt(0))),
    truncated: 0,
  }),
};

const { create, restore, strata } = sequenceClassification;
const labelled = (labels: unknown[]): Table => table(labels.map((label) => ({ text: "x", label })));
const problemOf = (labels: unknown[], options: object = {}): unknown =>
  create(labelled(labels), options).details["problemType"];
const logits = (width: number, ...values: number[]): Outputs => ({
  logits: {
    dtype: "float32",
    shape: [values.length / width, width],
    data: Float32Array.from(values),
  },
});
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe("the problem", () => {
  it("is chosen by the labels", () => {
    expect(problemOf(["a", "b"])).toBe("single");
    expect(problemOf([["a"], ["a", "b"]])).toBe("multi");
    expect(problemOf(['["a"]', "[]"])).toBe("multi");
    expect(problemOf(["0.5", "1"])).toBe("regression");
    expect(problemOf([1, 2, 3, 4, 5])).toBe("single");
    expect(problemOf([1.0, 2.0, 5.0])).toBe("single");
    // Many whole numbers that hardly recur are no classes; those that recur are.
    expect(problemOf(range(100).map((i) => 1000 + (i % 50)))).toBe("regression");
    expect(problemOf(range(500).map((i) => i % 77))).toBe("single");
  });

  it("is what the user says", () => {
    expect(problemOf([1, 2, 3], { problemType: "regression" })).toBe("regression");
    expect(problemOf(["a;b", "b"], { problemType: "multi" })).toBe("multi");
    expect(problemOf(["a/b", "b"], { labelSeparator: "/" })).toBe("multi");
    expect(problemOf(["a;b", "b"])).toBe("single");
  });

  it("names faulty rows among fractions instead of taking them for labels", () => {
    expect(() => problemOf(["0.5", "0.25", "n/a"])).toThrow(
      'data.csv: line 4: column "label": expected a finite number, got "n/a".',
    );
  });

  it("refuses settings of another one", () => {
    const settings = { classWeights: "balanced", labelSeparator: ";", problemType: "regression" };
    expect(() => problemOf([0.5, 1], settings)).toThrow(
      "classWeights: only single labels have weights, expected none, got balanced; " +
        "labelSeparator: only multi-label data has separators, expected none. " +
        "The problem type is regression; name another one with problemType.",
    );
    const flags = table([{ text: "x", joy: 1, fear: 0 }]);
    expect(() => create(flags, { labelColumn: "joy,fear", problemType: "single" })).toThrow(
      "labelColumn: expected one column, got 2. The problem type is single;",
    );
  });
});

describe("multi-label classification", () => {
  const train = table([
    { text: "ab", labels: "joy;fear" },
    { text: "c", labels: "" },
    { text: "d", labels: "joy" },
  ]);
  const options = { problemType: "multi", threshold: 0.6 } as const;

  it("takes its labels from lists, and the same from columns", () => {
    const task = create(train, options);
    expect(task.modelConfig).toEqual({
      id2label: { 0: "fear", 1: "joy" },
      label2id: { fear: 0, joy: 1 },
      num_labels: 2,
      problem_type: "multi_label_classification",
    });
    expect(task.details).toEqual({
      problemType: "multi",
      labels: ["fear", "joy"],
      threshold: 0.6,
      labelSeparator: ";",
    });
    const columns = table([{ text: "a", fear: "1", joy: "0" }]);
    const flagged = create(columns, { labelColumn: "fear, joy" });
    expect(flagged.modelConfig).toEqual(task.modelConfig);
    expect(flagged.readExamples(columns, letters).examples[0]!.target).toEqual([0]);
    const again = restore(JSON.parse(JSON.stringify(flagged.state)), "lowrank.json");
    expect(again.readExamples(columns, letters).examples[0]!.target).toEqual([0]);
  });

  it("feeds 0 and 1, and no numbers in rows that fill up", () => {
    const task = restore(JSON.parse(JSON.stringify(create(train, options).state)), "lowrank.json");
    const { examples } = task.readExamples(train, letters);
    const feeds = task.collate(examples, { batch: 4, length: 2 }, 0);
    expect(feeds["labels"]).toEqual({
      dtype: "float32",
      shape: [4, 2],
      data: Float32Array.of(1, 1, 0, 0, 0, 1, NaN, NaN),
    });
    expect(task.countLabels(feeds)).toBe(6);
    const unknown = task.inputExamples([{ text: "a" }], letters).examples;
    expect(task.countLabels(task.collate(unknown, { batch: 1, length: 2 }, 0))).toBe(0);
  });

  it("predicts labels from the threshold on, the most probable first", () => {
    const task = create(train, options);
    const outputs = logits(2, 1, 2, 0.3, 0.5, -9, 9);
    const rows = [0, 1, 2].map((row) => task.decode(outputs, row, {} as never));
    const predictions = task.predictions([], [], rows) as { labels: string[] }[];
    // σ(0.3) = 0.574, σ(0.5) = 0.622
    expect(predictions.map(({ labels }) => labels)).toEqual([["joy", "fear"], ["joy"], ["joy"]]);
    expect(task.lines(predictions[0])[0]![0]).toBe("joy");
    expect(task.lines(predictions[0])[0]![1]).toBeCloseTo(1 / (1 + Math.exp(-2)), 7);
    const { examples } = task.readExamples(train, letters);
    const metrics = task.metrics(examples, rows);
    // Of [fear, joy], [], [joy]: right 3, predicted 4, true 3.
    expect(metrics.scalars).toEqual({ microF1: 6 / 7, macroF1: 0.9, subsetAccuracy: 2 / 3 });
    expect(task.tables(metrics)[0]!.rows).toEqual([
      ["fear", 1, 1, 1, 1],
      ["joy", 2 / 3, 1, 0.8, 2],
    ]);
    expect(task.bestMetric).toBe("microF1");
  });

  it("says nothing for a text without labels, in a line of its own", () => {
    const task = create(train, options);
    const [prediction] = task.predictions([], [], [Float32Array.of(-1, -1)]);
    expect(task.lines(prediction)).toEqual([[]]);
  });

  it("holds out by the rarest label of each row", () => {
    const rows = [["a"], ["a", "b"], ["a"], []].map((label) => ({ text: "x", label }));
    expect(strata(table(rows), {})).toEqual([1, 0, 1, -1]);
  });

  it("refuses training data without labels, and evaluation data with other ones", () => {
    expect(() => create(labelled([[], []]), {})).toThrow("expected at least one label");
    const task = create(labelled([["a"], ["b"]]), {});
    expect(() => task.readExamples(labelled([["c"]]), letters)).toThrow(
      'data.csv: line 2: column "label": the label "c" is not one of the training data\'s.',
    );
    expect(() => restore({ labels: ["a"], threshold: 1 }, "lowrank.json")).toThrow("threshold");
  });
});

describe("regression", () => {
  const train = labelled([0.5, "-1", 2]);

  it("has one output, and numbers as targets", () => {
    const task = create(train, {});
    expect(task.modelConfig).toEqual({
      id2label: { 0: "LABEL_0" },
      label2id: { LABEL_0: 0 },
      num_labels: 1,
      problem_type: "regression",
    });
    expect([task.warnings, strata(train, {})]).toEqual([[], [0, 0, 0]]);
    const { examples } = task.readExamples(train, letters);
    const feeds = task.collate(examples, { batch: 4, length: 1 }, 0);
    expect(feeds["labels"]!.data).toEqual(Float32Array.of(0.5, -1, 2, NaN));
    expect(task.countLabels(feeds)).toBe(3);
  });

  it("predicts and measures numbers; lower errors are better", () => {
    const task = create(train, {});
    const rows = [0, 1, 2].map((row) => task.decode(logits(1, 0.5, 0, 1), row, {} as never));
    expect(task.predictions([], [], rows)).toEqual([{ value: 0.5 }, { value: 0 }, { value: 1 }]);
    expect(task.lines({ value: 0.5 })).toEqual([[0.5]]);
    const metrics = task.metrics(task.readExamples(train, letters).examples, rows);
    expect(metrics.scalars).toMatchObject({ mse: 2 / 3, mae: 2 / 3, spearman: 1 });
    expect(Object.keys(metrics.scalars)).toEqual(task.metricNames);
    expect(task.tables(metrics)[0]!.rows[0]).toEqual(["targets", 0.5, Math.sqrt(1.5), -1, 2]);
    expect([task.bestMetric, task.lowerIsBetter]).toEqual(["mse", ["mse", "rmse", "mae"]]);
  });

  it("warns of targets far from 0 and of equal ones", () => {
    expect(create(labelled([1000.5, 2000, 1500]), {}).warnings).toEqual([
      'data.csv: column "label": targets from 1000.5 to 2000 are far from 0, where a new head starts: ' +
        "training is slow. Train on (target - 1500) / 408 and undo that in the predictions.",
    ]);
    expect(create(labelled([0.5, 0.5]), {}).warnings).toEqual([
      'data.csv: column "label": all targets are 0.5, so there is nothing to tell apart.',
    ]);
  });
});

describe("pairs of texts", () => {
  const train = table([
    { premise: "ab", hypothesis: "c", label: "yes" },
    { premise: "d", hypothesis: "", label: "no" },
  ]);

  it("are found by the columns' names, or named", () => {
    const task = create(train, {});
    expect(task.fields).toEqual(["text", "textPair"]);
    expect(task.details["pairs"]).toEqual(["premise", "hypothesis"]);
    expect(task.readInputs(train)).toEqual([
      { text: "ab", textPair: "c" },
      { text: "d", textPair: "" },
    ]);
    const other = table([
      { text: "a", reply: "b", label: "x" },
      { text: "", reply: "", label: "y" },
    ]);
    expect(create(other, {}).fields).toEqual(["text"]);
    expect(create(other, { textPairColumn: "reply" }).fields).toEqual(["text", "textPair"]);
    // Who names the text alone wants that alone.
    expect(create(train, { textColumn: "premise" }).fields).toEqual(["text"]);
  });

  it("need both texts everywhere", () => {
    const task = restore(JSON.parse(JSON.stringify(create(train, {}).state)), "lowrank.json");
    expect(() => task.readInputs(table([{ text: "a", other: "b" }]))).toThrow(
      "no column has a usual name of a text pair column",
    );
    expect(() => task.inputExamples([{ text: "a" }], letters)).toThrow(
      "input 1: textPair: expected a text, got undefined.",
    );
  });
});

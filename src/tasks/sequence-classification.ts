/** @file Sequence classification: one of several labels for a text. */
import { z } from "zod";
import { findColumn, LABEL_COLUMNS, TEXT_COLUMNS, textValues } from "../data/columns.ts";
import { balancedClassWeights, encodeLabels, labelSet } from "../data/labels.ts";
import { columnOf, type Table } from "../data/table.ts";
import { LowrankError } from "../errors.ts";
import { constant } from "../graph/leaves.ts";
import { modelInputs, type InputShape } from "../models/inputs.ts";
import { IGNORED_LABEL } from "../ops/functional.ts";
import { classificationLossSum, labelCount, LABELS, type ProblemType } from "./losses.ts";
import {
  accuracy,
  confusionMatrix,
  macroF1,
  perLabelMetrics,
  type LabelMetrics,
} from "./metrics.ts";
import type {
  Columns,
  Encoder,
  Example,
  Examples,
  Feeds,
  Metrics,
  MetricsAccumulator,
  MetricTable,
  Prediction,
  Task,
  TaskKind,
} from "./task.ts";

export interface ClassificationExample extends Example {
  /** Label id; IGNORED_LABEL where it is not known. */
  readonly label: number;
}

const PROBLEM: ProblemType = "single_label_classification";

const stateSchema = z.object({
  /** In the order of their ids. */
  labels: z.array(z.string()).min(1),
  /** Columns of the training data, tried first in other files. */
  textColumn: z.string().optional(),
  labelColumn: z.string().optional(),
  /** Weight of each label in the loss. */
  classWeights: z.array(z.number()).optional(),
});

type State = z.infer<typeof stateSchema>;

export interface ClassificationDetails {
  readonly labels: readonly string[];
  readonly perLabel: Readonly<Record<string, LabelMetrics>>;
  /** Rows: true labels, columns: predicted ones, in the order of `labels`. */
  readonly confusionMatrix: readonly (readonly number[])[];
}

export const sequenceClassification: TaskKind = {
  type: "SEQ_CLS",
  name: "sequence-classification",
  aliases: ["text-classification"],

  strata: (table, columns) => labelSet(columnOf(table, labelColumn(table, columns))).ids,

  create(table, options) {
    const column = labelColumn(table, options);
    const { labels, ids } = labelSet(columnOf(table, column));
    return makeTask({
      labels,
      textColumn: textColumn(table, options),
      labelColumn: column,
      ...(options.classWeights === "balanced"
        ? { classWeights: balancedClassWeights(ids, labels.length) }
        : {}),
    });
  },

  restore(state, where) {
    const parsed = stateSchema.safeParse(state);
    if (parsed.success) return makeTask(parsed.data);
    const problems = parsed.error.issues.map(
      ({ path, message }) => `${path.join(".")}: ${message}`,
    );
    throw new LowrankError(
      "config",
      `${where}: not a sequence classification task: ${problems.join("; ")}. Train the adapter again.`,
    );
  },

  fromConfig(config, headRows) {
    const names = (config["id2label"] ?? {}) as Readonly<Record<string, string>>;
    const fits = Object.keys(names).length === headRows;
    const labels = Array.from({ length: headRows }, (_, id) =>
      fits ? (names[id] ?? `LABEL_${id}`) : `LABEL_${id}`,
    );
    return makeTask({ labels });
  },
};

function makeTask(state: State): Task<ClassificationExample> {
  const { labels, classWeights } = state;
  const preferred = (table: Table, columns: Columns = {}): Columns => ({
    textColumn: columns.textColumn ?? ifPresent(table, state.textColumn),
    labelColumn: columns.labelColumn ?? ifPresent(table, state.labelColumn),
  });
  const readTexts = (table: Table, columns?: Columns): string[] =>
    textValues(table, textColumn(table, preferred(table, columns)));

  return {
    type: "SEQ_CLS",
    name: sequenceClassification.name,
    pipelineTag: "text-classification",
    modelConfig: {
      id2label: Object.fromEntries(labels.entries()),
      label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
      num_labels: labels.length,
      problem_type: PROBLEM,
    },
    state,
    details: { labels, ...(classWeights ? { classWeights } : {}) },
    bestMetric: "macroF1",

    readTexts,
    readExamples(table, encoder, columns) {
      const column = columnOf(table, labelColumn(table, preferred(table, columns)));
      return examplesOf(readTexts(table, columns), encodeLabels(column, labels), encoder);
    },
    textExamples: (texts, encoder) =>
      examplesOf(
        texts,
        texts.map(() => IGNORED_LABEL),
        encoder,
      ),

    collate,
    build(model, shape) {
      const logits = model.forward(modelInputs(shape)); // [B, labels]
      const weights = classWeights && constant("float32", [labels.length], classWeights);
      return { logits, lossSum: classificationLossSum(logits, PROBLEM, weights) };
    },
    countLabels: (feeds) => labelCount(feeds[LABELS]!.data, PROBLEM, classWeights),
    metrics: () => accumulator(labels),
    predictions: (logits, count) => predictions(logits, count, labels),
    tables,
  };
}

function textColumn(table: Table, { textColumn: asked }: Columns): string {
  return findColumn(table, { asked, candidates: TEXT_COLUMNS, role: "text" });
}

function labelColumn(table: Table, { labelColumn: asked }: Columns): string {
  return findColumn(table, { asked, candidates: LABEL_COLUMNS, role: "label" });
}

function ifPresent(table: Table, name: string | undefined): string | undefined {
  return name !== undefined && table.columns.includes(name) ? name : undefined;
}

function examplesOf(
  texts: readonly string[],
  labels: readonly number[],
  encoder: Encoder,
): Examples<ClassificationExample> {
  const { ids, truncated } = encoder.encode(texts);
  const examples = ids.map((inputIds, index) => ({ inputIds, label: labels[index]! }));
  return { examples, truncated };
}

/** Rows beyond the examples hold one token to attend to (no row may be without) and no label. */
function collate(
  examples: readonly ClassificationExample[],
  { batch, length }: InputShape,
  padTokenId: number,
): Feeds {
  const ids = new Int32Array(batch * length).fill(padTokenId);
  const mask = new Int32Array(batch * length);
  const labels = new Int32Array(batch).fill(IGNORED_LABEL);
  for (let row = 0; row < batch; row++) {
    const example = examples[row];
    if (example) {
      ids.set(example.inputIds, row * length);
      labels[row] = example.label;
    }
    mask.fill(1, row * length, row * length + (example?.inputIds.length ?? 1));
  }
  return {
    input_ids: { dtype: "int32", shape: [batch, length], data: ids },
    attention_mask: { dtype: "int32", shape: [batch, length], data: mask },
    [LABELS]: { dtype: "int32", shape: [batch], data: labels },
  };
}

function accumulator(labels: readonly string[]): MetricsAccumulator<ClassificationExample> {
  const truth: number[] = [];
  const predicted: number[] = [];
  return {
    add(logits, examples) {
      for (const [row, { label }] of examples.entries()) {
        truth.push(label);
        predicted.push(largest(logits.subarray(row * labels.length, (row + 1) * labels.length)));
      }
    },
    result() {
      const counts = confusionMatrix(truth, predicted, labels.length);
      const perLabel = perLabelMetrics(counts);
      const details: ClassificationDetails = {
        labels,
        perLabel: Object.fromEntries(labels.map((label, id) => [label, perLabel[id]!])),
        confusionMatrix: counts,
      };
      return {
        scalars: { accuracy: accuracy(counts), macroF1: macroF1(counts) },
        details: { ...details },
      };
    },
  };
}

/** Index of the largest value, the first of equal ones. */
function largest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

function predictions(logits: Float32Array, count: number, labels: readonly string[]): Prediction[] {
  return Array.from({ length: count }, (_, row) => {
    const own = logits.subarray(row * labels.length, (row + 1) * labels.length);
    const best = largest(own);
    const exponentials = Array.from(own, (value) => Math.exp(value - own[best]!));
    const sum = exponentials.reduce((total, value) => total + value, 0);
    const scores = exponentials.map((value) => value / sum);
    return {
      label: labels[best]!,
      score: scores[best]!,
      scores: Object.fromEntries(labels.map((label, id) => [label, scores[id]!])),
    };
  });
}

function tables({ details }: Metrics): MetricTable[] {
  const { labels, perLabel, confusionMatrix: counts } = details as unknown as ClassificationDetails;
  return [
    {
      title: "Labels",
      columns: ["label", "precision", "recall", "F1", "examples"],
      rows: labels.map((label) => {
        const { precision, recall, f1, support } = perLabel[label]!;
        return [label, precision, recall, f1, support];
      }),
    },
    {
      title: "Confusion matrix (rows: true, columns: predicted)",
      columns: ["", ...labels],
      rows: counts.map((row, id) => ([labels[id]!] as (string | number)[]).concat(row)),
    },
  ];
}

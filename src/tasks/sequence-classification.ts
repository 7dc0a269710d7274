/** @file Sequence classification: one of several labels for a text. */
import { z } from "zod";
import { findColumn, textValues } from "../data/columns.ts";
import { balancedClassWeights, encodeLabels, labelSet } from "../data/labels.ts";
import { columnOf, type Table } from "../data/table.ts";
import { LowrankError } from "../errors.ts";
import { modelInputs } from "../models/inputs.ts";
import { IGNORED_LABEL } from "../ops/functional.ts";
import { collateTokens, rowValues } from "./collate.ts";
import { fieldTexts } from "./inputs.ts";
import {
  accuracy,
  confusionMatrix,
  macroF1,
  perLabelMetrics,
  type LabelMetrics,
} from "./metrics.ts";
import { LABELS, objectiveOf, type ProblemType } from "./objectives.ts";
import type { Columns } from "./options.ts";
import type { Encoder, Example, Examples, Metrics, MetricTable, Task, TaskKind } from "./task.ts";

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

/** A classification of one text. */
export interface ClassificationPrediction {
  readonly label: string;
  /** Probability of that label. */
  readonly score: number;
  /** Probability of every label, in the order of the label ids. */
  readonly scores: Readonly<Record<string, number>>;
}

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

type ClassificationTask = Task<ClassificationExample, Float32Array, ClassificationPrediction>;

function makeTask(state: State): ClassificationTask {
  const { labels, classWeights } = state;
  const objective = objectiveOf("SEQ_CLS", { problemType: PROBLEM, classWeights });
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
    metricNames: ["accuracy", "macroF1"],
    bestMetric: "macroF1",
    fields: ["text"],

    readExamples(table, encoder, columns) {
      const column = columnOf(table, labelColumn(table, preferred(table, columns)));
      return examplesOf(readTexts(table, columns), encodeLabels(column, labels), encoder);
    },
    readInputs: (table, columns) => readTexts(table, columns).map((text) => ({ text })),
    inputExamples(inputs, encoder) {
      const texts = fieldTexts(inputs, "text");
      return examplesOf(
        texts,
        texts.map(() => IGNORED_LABEL),
        encoder,
      );
    },

    collate: (examples, shape, padTokenId) => ({
      ...collateTokens(examples, shape, padTokenId),
      [LABELS]: rowValues(
        examples.map(({ label }) => label),
        shape.batch,
        IGNORED_LABEL,
      ),
    }),
    build(model, shape, inputs) {
      const { outputs, lossSum } = objective.build(model.forward(modelInputs(shape, inputs)));
      return { results: outputs, lossSum };
    },
    countLabels: (feeds) => objective.countLabels(feeds),
    decode: ({ logits }, row) =>
      (logits!.data as Float32Array).slice(row * labels.length, (row + 1) * labels.length),
    metrics: (examples, results) => metricsOf(examples, results, labels),
    predictions: (_, __, results) => results.map((logits) => predictionOf(logits, labels)),
    lines: ({ label, score }) => [[label, score]],
    tables,
  };
}

function textColumn(table: Table, { textColumn: asked }: Columns): string {
  return findColumn(table, "text", asked);
}

function labelColumn(table: Table, { labelColumn: asked }: Columns): string {
  return findColumn(table, "label", asked);
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

function metricsOf(
  examples: readonly ClassificationExample[],
  results: readonly Float32Array[],
  labels: readonly string[],
): Metrics {
  const truth = examples.map(({ label }) => label);
  const counts = confusionMatrix(truth, results.map(largest), labels.length);
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
}

/** Index of the largest value, the first of equal ones. */
function largest(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

function predictionOf(logits: Float32Array, labels: readonly string[]): ClassificationPrediction {
  const best = largest(logits);
  const exponentials = Array.from(logits, (value) => Math.exp(value - logits[best]!));
  const sum = exponentials.reduce((total, value) => total + value, 0);
  const scores = exponentials.map((value) => value / sum);
  return {
    label: labels[best]!,
    score: scores[best]!,
    scores: Object.fromEntries(labels.map((label, id) => [label, scores[id]!])),
  };
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

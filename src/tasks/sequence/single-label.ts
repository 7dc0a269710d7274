/** @file One of several labels for a text: softmax over the head's outputs, cross-entropy. */
import { balancedClassWeights, encodeLabels, labelSet, similarLabels } from "../../data/labels.ts";
import { columnOf } from "../../data/table.ts";
import { IGNORED_LABEL } from "../../ops/functional.ts";
import { rowValues } from "../collate.ts";
import { placeLabels } from "../head-labels.ts";
import {
  accuracy,
  confusionMatrix,
  macroF1,
  perLabelMetrics,
  type LabelMetrics,
} from "../metrics.ts";
import { softmax } from "../softmax.ts";
import type { Metrics, MetricTable } from "../task.ts";
import type { ProblemKind, SequenceProblem, State } from "./problem.ts";

/** A label for a text. */
export interface ClassificationPrediction {
  readonly label: string;
  /** Probability of that label. */
  readonly score: number;
  /** Probability of every label, in the order of the label ids. */
  readonly scores: Readonly<Record<string, number>>;
}

/** The details of its metrics. */
export interface ClassificationDetails {
  readonly labels: readonly string[];
  readonly perLabel: Readonly<Record<string, LabelMetrics>>;
  /** Rows: true labels, columns: predicted ones, in the order of `labels`. */
  readonly confusionMatrix: readonly (readonly number[])[];
}

export const singleLabel: ProblemKind = {
  type: "single_label_classification",
  define(table, [labelColumn], { classWeights }, head) {
    const column = columnOf(table, labelColumn!);
    const labels = placeLabels(labelSet(column).labels, head);
    const weights =
      classWeights === "balanced"
        ? { classWeights: balancedClassWeights(encodeLabels(column, labels), labels.length) }
        : {};
    return {
      state: { problemType: "single_label_classification", labels, ...weights },
      warnings: similarLabels(column, labels),
    };
  },
  strata: (table, [labelColumn]) => labelSet(columnOf(table, labelColumn!)).ids,
  make,
};

function make({ labels, classWeights }: State): SequenceProblem<number, ClassificationPrediction> {
  return {
    details: { problemType: "single", labels, ...(classWeights ? { classWeights } : {}) },
    metricNames: ["accuracy", "macroF1"],
    bestMetric: "macroF1",
    unknown: IGNORED_LABEL,
    targets: (table, [labelColumn]) => encodeLabels(columnOf(table, labelColumn!), labels),
    feed: (targets, batch) => rowValues(targets, batch, IGNORED_LABEL),
    metrics: (targets, logits) => metricsOf(targets, logits, labels),
    prediction: (logits) => predictionOf(logits, labels),
    cells: ({ label, score }) => [label, score],
    tables,
  };
}

function metricsOf(
  targets: readonly number[],
  logits: readonly Float32Array[],
  labels: readonly string[],
): Metrics {
  const counts = confusionMatrix(targets, logits.map(largest), labels.length);
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
  const scores = softmax([...logits]);
  return {
    label: labels[best]!,
    score: scores[best]!,
    scores: Object.fromEntries(labels.map((label, id) => [label, scores[id]!])),
  };
}

function tables({ details }: Metrics): MetricTable[] {
  const { labels, perLabel, confusionMatrix: counts } = details as unknown as ClassificationDetails;
  const confusions =
    labels.length > MATRIX_LABELS ? largestConfusions(labels, counts) : matrix(labels, counts);
  return [labelTable(labels, perLabel), confusions];
}

/** A matrix of more labels is wider than a page. */
const MATRIX_LABELS = 20;
const LISTED_CONFUSIONS = 20;

function matrix(labels: readonly string[], counts: readonly (readonly number[])[]): MetricTable {
  return {
    title: "Confusion matrix (rows: true, columns: predicted)",
    columns: ["", ...labels],
    rows: counts.map((row, id) => ([labels[id]!] as (string | number)[]).concat(row)),
  };
}

function largestConfusions(
  labels: readonly string[],
  counts: readonly (readonly number[])[],
): MetricTable {
  const wrong = counts.flatMap((row, id) =>
    row.flatMap((count, predicted) =>
      predicted === id || count === 0 ? [] : [[labels[id]!, labels[predicted]!, count] as const],
    ),
  );
  return {
    title: `Largest confusions, ${Math.min(LISTED_CONFUSIONS, wrong.length)} of ${wrong.length}`,
    columns: ["true", "predicted", "examples"],
    rows: wrong.toSorted(([, , a], [, , b]) => b - a).slice(0, LISTED_CONFUSIONS),
  };
}

/** Precision, recall and F1 of each label. */
export function labelTable(
  labels: readonly string[],
  perLabel: Readonly<Record<string, LabelMetrics>>,
): MetricTable {
  return {
    title: "Labels",
    columns: ["label", "precision", "recall", "F1", "examples"],
    rows: labels.map((label) => {
      const { precision, recall, f1, support } = perLabel[label]!;
      return [label, precision, recall, f1, support];
    }),
  };
}

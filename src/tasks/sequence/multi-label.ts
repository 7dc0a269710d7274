/** @file Any number of labels for a text: a sigmoid for each output of the head, binary cross-entropy. */
import {
  encodeLabelLists,
  findSeparator,
  flaggedLabels,
  labelLists,
  labelsOf,
} from "../../data/label-lists.ts";
import { similarLabels } from "../../data/labels.ts";
import { columnOf, type Table } from "../../data/table.ts";
import { placeLabels } from "../head-labels.ts";
import { multiLabelMetrics, type LabelMetrics } from "../metrics.ts";
import type { Metrics, MetricTable } from "../task.ts";
import type { ProblemKind, SequenceProblem, State } from "./problem.ts";
import { labelTable } from "./single-label.ts";

/** The labels of a text. */
export interface MultiLabelPrediction {
  /** Those of at least the threshold's probability, the most probable first. */
  readonly labels: readonly string[];
  /** Probability of every label, in the order of the label ids. */
  readonly scores: Readonly<Record<string, number>>;
}

/** The details of its metrics. */
export interface MultiLabelDetails {
  readonly labels: readonly string[];
  readonly threshold: number;
  readonly perLabel: Readonly<Record<string, LabelMetrics>>;
}

/** The threshold of a state without one: of an adapter from elsewhere. */
const EVEN = 0.5;

export const multiLabel: ProblemKind = {
  type: "multi_label_classification",
  define(table, labelColumns, { labelSeparator, threshold = EVEN }, head) {
    const column = columnOf(table, labelColumns[0]!);
    const separator = labelSeparator ?? findSeparator(column);
    const lists = readLists(table, labelColumns, separator);
    const labels = labelColumns.length > 1 ? labelColumns : labelsOf(lists, column);
    return {
      state: {
        problemType: "multi_label_classification",
        labels: placeLabels(labels, head),
        ...(separator === undefined || labelColumns.length > 1
          ? {}
          : { labelSeparator: separator }),
        threshold,
      },
      warnings: similarLabels(column, labels),
    };
  },
  strata(table, labelColumns, { labelSeparator }) {
    const column = columnOf(table, labelColumns[0]!);
    const lists = readLists(table, labelColumns, labelSeparator ?? findSeparator(column));
    return rarestLabels(lists);
  },
  make,
};

function readLists(
  table: Table,
  labelColumns: readonly string[],
  separator: string | undefined,
): string[][] {
  const columns = labelColumns.map((name) => columnOf(table, name));
  return columns.length > 1 ? flaggedLabels(columns) : labelLists(columns[0]!, separator);
}

/** The rarest label of each row, so that each label is held out in proportion; -1 for none. */
function rarestLabels(lists: readonly (readonly string[])[]): number[] {
  const counts = new Map<string, number>();
  for (const label of lists.flat()) counts.set(label, (counts.get(label) ?? 0) + 1);
  const byCount = [...counts].sort(([, a], [, b]) => a - b).map(([label]) => label);
  const rank = new Map(byCount.map((label, index) => [label, index]));
  return lists.map((list) =>
    list.length === 0 ? -1 : Math.min(...list.map((label) => rank.get(label)!)),
  );
}

function make({
  labels,
  labelSeparator,
  threshold = EVEN,
}: State): SequenceProblem<readonly number[] | undefined, MultiLabelPrediction> {
  return {
    details: {
      problemType: "multi",
      labels,
      threshold,
      ...(labelSeparator === undefined ? {} : { labelSeparator }),
    },
    metricNames: ["microF1", "macroF1", "subsetAccuracy"],
    bestMetric: "microF1",
    settings: ["threshold"],
    unknown: undefined,
    targets(table, labelColumns) {
      const lists = readLists(table, labelColumns, labelSeparator);
      return encodeLabelLists(lists, labels, columnOf(table, labelColumns[0]!));
    },
    feed(targets, batch) {
      const data = new Float32Array(batch * labels.length).fill(NaN);
      for (const [row, ids] of targets.entries()) {
        if (!ids) continue;
        data.fill(0, row * labels.length, (row + 1) * labels.length);
        for (const id of ids) data[row * labels.length + id] = 1;
      }
      return { dtype: "float32", shape: [batch, labels.length], data };
    },
    metrics: (targets, logits) => metricsOf(targets, logits, labels, threshold),
    prediction: (logits) => predictionOf(logits, labels, threshold),
    cells: ({ labels: own, scores }) => own.flatMap((label) => [label, scores[label]!]),
    tables,
  };
}

function metricsOf(
  targets: readonly (readonly number[] | undefined)[],
  logits: readonly Float32Array[],
  labels: readonly string[],
  threshold: number,
): Metrics {
  const predicted = logits.map((row) =>
    [...row.keys()].filter((id) => sigmoid(row[id]!) >= threshold),
  );
  const truth = targets.map((ids) => ids ?? []);
  const { perLabel, ...scalars } = multiLabelMetrics(truth, predicted, labels.length);
  const details: MultiLabelDetails = {
    labels,
    threshold,
    perLabel: Object.fromEntries(labels.map((label, id) => [label, perLabel[id]!])),
  };
  return { scalars: { ...scalars }, details: { ...details } };
}

function predictionOf(
  logits: Float32Array,
  labels: readonly string[],
  threshold: number,
): MultiLabelPrediction {
  const scores = Object.fromEntries(labels.map((label, id) => [label, sigmoid(logits[id]!)]));
  return {
    labels: labels
      .filter((label) => scores[label]! >= threshold)
      .sort((a, b) => scores[b]! - scores[a]!),
    scores,
  };
}

function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

function tables({ details }: Metrics): MetricTable[] {
  const { labels, perLabel } = details as unknown as MultiLabelDetails;
  return [labelTable(labels, perLabel)];
}

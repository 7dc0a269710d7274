/** @file A number for a text: the head's only output, squared error. Targets are learned as they are, since an
 * adapter file in PEFT's format has no place for a scale to undo. */
import { columnOf } from "../../data/table.ts";
import { numericTargets } from "../../data/targets.ts";
import { mean, regressionMetrics, standardDeviation } from "../regression-metrics.ts";
import type { Metrics, MetricTable } from "../task.ts";
import type { ProblemKind, SequenceProblem } from "./problem.ts";

/** A number for a text. */
export interface RegressionPrediction {
  readonly value: number;
}

interface Distribution {
  readonly mean: number;
  readonly standardDeviation: number;
  readonly smallest: number;
  readonly largest: number;
}

/** The details of its metrics. */
export interface RegressionDetails {
  readonly targets: Distribution;
  readonly predictions: Distribution;
}

/** A new head starts near 0, and its weights move by about the learning rate in a step: beyond this, most
 * of a run is spent on the way. */
const FAR_FROM_ZERO = 20;

/** As transformers calls the output of a head without labels. */
const LABELS = ["LABEL_0"];

export const regression: ProblemKind = {
  type: "regression",
  define(table, [labelColumn]) {
    const targets = numericTargets(columnOf(table, labelColumn!));
    return {
      state: { problemType: "regression", labels: LABELS },
      warnings: warningsOf(targets, `${table.file}: column ${JSON.stringify(labelColumn)}`),
    };
  },
  strata: (table) => table.rows.map(() => 0),
  make: () => problem,
};

function warningsOf(targets: readonly number[], where: string): string[] {
  const { smallest, largest, ...moments } = distribution(targets);
  if (smallest === largest) {
    return [`${where}: all targets are ${smallest}, so there is nothing to tell apart.`];
  }
  if (Math.max(-smallest, largest) <= FAR_FROM_ZERO) return [];
  const [middle, deviation] = [moments.mean, moments.standardDeviation].map((value) =>
    Number(value.toPrecision(4)),
  );
  return [
    `${where}: targets from ${smallest} to ${largest} are far from 0, where a new head starts: training is slow. ` +
      `Train on (target - ${middle}) / ${deviation} and undo that in the predictions.`,
  ];
}

const problem: SequenceProblem<number, RegressionPrediction> = {
  details: { problemType: "regression" },
  metricNames: ["mse", "rmse", "mae", "pearson", "spearman"],
  lowerIsBetter: ["mse", "rmse", "mae"],
  bestMetric: "mse",
  unknown: NaN,
  targets: (table, [labelColumn]) => numericTargets(columnOf(table, labelColumn!)),
  feed(targets, batch) {
    const data = new Float32Array(batch).fill(NaN);
    data.set(targets);
    return { dtype: "float32", shape: [batch], data };
  },
  metrics(targets, logits) {
    const predictions = logits.map((row) => row[0]!);
    const details: RegressionDetails = {
      targets: distribution(targets),
      predictions: distribution(predictions),
    };
    return { scalars: { ...regressionMetrics(targets, predictions) }, details: { ...details } };
  },
  prediction: (logits) => ({ value: logits[0]! }),
  cells: ({ value }) => [value],
  tables,
};

/** All 0 without values. */
function distribution(values: readonly number[]): Distribution {
  const [first = 0] = values;
  return {
    mean: mean(values),
    standardDeviation: standardDeviation(values),
    smallest: values.reduce((least, value) => Math.min(least, value), first),
    largest: values.reduce((most, value) => Math.max(most, value), first),
  };
}

function tables({ details }: Metrics): MetricTable[] {
  const { targets, predictions } = details as unknown as RegressionDetails;
  return [
    {
      title: "Values",
      columns: ["", "mean", "std. dev.", "smallest", "largest"],
      rows: [
        ["targets", ...Object.values(targets)],
        ["predictions", ...Object.values(predictions)],
      ],
    },
  ];
}

/** @file What each kind of head is trained for: the model's outputs under transformers' names, the sum of
 * the losses over the labels of a batch, and how many labels that is. The mean over a step is taken by the
 * trainer, so that it is exact over micro-batches. Letters: L labels. */
import type { TypedArray } from "../graph/dtype.ts";
import { constant, input } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import { dimension } from "../graph/shape.ts";
import type { TaskType } from "../models/family.ts";
import { add, less, mul, where } from "../ops/elementwise.ts";
import {
  binaryCrossEntropySum,
  crossEntropySum,
  IGNORED_LABEL,
  squaredErrorSum,
} from "../ops/functional.ts";
import { axisLength } from "../ops/indexing.ts";
import { reshape, slice, split } from "../ops/movement.ts";
import type { Feeds } from "./task.ts";

export const PROBLEM_TYPES = [
  "single_label_classification",
  "multi_label_classification",
  "regression",
] as const;
export type ProblemType = (typeof PROBLEM_TYPES)[number];

/** Names of the graph inputs with labels. */
export const LABELS = "labels";
export const START_POSITIONS = "start_positions";
export const END_POSITIONS = "end_positions";

/** The symbolic results of a batch. */
export interface ObjectiveGraph {
  /** Under transformers' names: logits, or start_logits and end_logits. */
  readonly outputs: Readonly<Record<string, Tensor>>;
  /** A scalar. */
  readonly lossSum: Tensor;
}

export interface Objective {
  /** @param logits as the model gives them (see Model) */
  build(logits: Tensor): ObjectiveGraph;
  /** Number of labels that a batch's lossSum is the sum over (their weights, with class weights). */
  countLabels(feeds: Feeds): number;
}

export interface ObjectiveOptions {
  /** Of sequence classification. Default "single_label_classification". */
  readonly problemType?: ProblemType | undefined;
  /** Weight of each label in a cross-entropy; [L]. */
  readonly classWeights?: readonly number[] | undefined;
}

/** The objective of a task. */
export function objectiveOf(type: TaskType, options: ObjectiveOptions = {}): Objective {
  const { problemType = "single_label_classification", classWeights } = options;
  switch (type) {
    case "SEQ_CLS":
      if (problemType === "regression") return regression;
      if (problemType === "multi_label_classification") return multiLabel;
      return classification(classWeights);
    case "TOKEN_CLS":
      return classification(classWeights);
    case "QUESTION_ANS":
      return spans;
    case "CAUSAL_LM":
      return nextToken;
  }
}

/** Cross-entropy of one label a row: logits [..., L], int32 labels [...], -100 ignored. */
function classification(classWeights?: readonly number[]): Objective {
  return {
    build(logits) {
      const weights = classWeights && constant("float32", [classWeights.length], classWeights);
      const labels = input(LABELS, "int32", logits.shape.slice(0, -1));
      return { outputs: { logits }, lossSum: crossEntropySum(logits, labels, weights) };
    },
    countLabels: (feeds) => count(feeds[LABELS]!.data, classWeights),
  };
}

/** Squared error: logits [B, 1], float32 labels [B], NaN ignored. */
const regression: Objective = {
  build(logits) {
    const values = reshape(logits, [-1]);
    const labels = input(LABELS, "float32", values.shape);
    return { outputs: { logits }, lossSum: squaredErrorSum(values, labels) };
  },
  countLabels: countNumbers,
};

/** Binary cross-entropy of every label: logits [B, L], float32 labels [B, L], 0 or 1, NaN ignored. */
const multiLabel: Objective = {
  build(logits) {
    const labels = input(LABELS, "float32", logits.shape);
    return { outputs: { logits }, lossSum: binaryCrossEntropySum(logits, labels) };
  },
  countLabels: countNumbers,
};

/**
 * Half the cross-entropy of a span's start and half that of its end, each over all T positions, padding
 * included, as in transformers: logits [B, T, 2], int32 positions [B]; those outside 0…T-1 are ignored.
 */
const spans: Objective = {
  build(logits) {
    const [batch, length] = logits.shape as [number, number, number];
    const [start, end] = split(logits, 2, -1).map((part) => reshape(part, [batch, length])) as [
      Tensor,
      Tensor,
    ];
    const loss = (scores: Tensor, name: string): Tensor => {
      const target = input(name, "int32", [batch]);
      const early = where(less(target, axisLength(scores, 1)), target, IGNORED_LABEL);
      return crossEntropySum(scores, where(less(target, 0), IGNORED_LABEL, early));
    };
    const both = add(loss(start, START_POSITIONS), loss(end, END_POSITIONS));
    return { outputs: { start_logits: start, end_logits: end }, lossSum: mul(both, 0.5) };
  },
  countLabels(feeds) {
    const length = feeds["input_ids"]!.shape[1]!;
    const inside = (name: string): number =>
      (feeds[name]!.data as Int32Array).filter((place) => place >= 0 && place < length).length;
    return (inside(START_POSITIONS) + inside(END_POSITIONS)) / 2;
  },
};

/** Next-token prediction: logits [B, T, V], int32 labels [B, T]; position t is scored against label t + 1. */
const nextToken: Objective = {
  build(logits) {
    const [batch, length, vocabulary] = logits.shape as [number, number, number];
    const labels = input(LABELS, "int32", [batch, length]);
    const scored = reshape(slice(logits, 1, 0, length - 1), [batch * (length - 1), vocabulary]);
    const next = reshape(slice(labels, 1, 1, length), [-1]);
    return { outputs: { logits }, lossSum: crossEntropySum(scored, next) };
  },
  countLabels(feeds) {
    const { data, shape } = feeds[LABELS]!;
    const length = dimension(shape, 1);
    return count((data as Int32Array).filter((_, i) => i % length !== 0));
  },
};

function countNumbers(feeds: Feeds): number {
  return (feeds[LABELS]!.data as Float32Array).filter((label) => !Number.isNaN(label)).length;
}

function count(labels: TypedArray, classWeights?: readonly number[]): number {
  let total = 0;
  for (const label of labels as Int32Array) {
    if (label !== IGNORED_LABEL) total += classWeights?.[label] ?? 1;
  }
  return total;
}

/** @file Sums of losses over the labels of a batch, and how many labels they are over. The mean over a
 * step is taken by the trainer, so that it is exact over micro-batches. */
import { LowrankError } from "../errors.ts";
import { input } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import {
  binaryCrossEntropySum,
  crossEntropySum,
  IGNORED_LABEL,
  squaredErrorSum,
} from "../ops/functional.ts";
import { reshape, slice } from "../ops/movement.ts";
import type { TypedArray } from "../graph/dtype.ts";

export type ProblemType =
  | "single_label_classification"
  | "multi_label_classification"
  | "regression";

/** Name of the graph input with the labels. */
export const LABELS = "labels";

/** Loss of sequence classification: logits [B, labels] → Σ loss. Labels: int32 [B] classes, or float32
 * [B] (regression), or float32 [B, labels] (multi-label). */
export function classificationLossSum(
  logits: Tensor,
  problem: ProblemType,
  classWeights?: Tensor,
): Tensor {
  const [batch] = logits.shape as [number];
  switch (problem) {
    case "single_label_classification":
      return crossEntropySum(logits, input(LABELS, "int32", [batch]), classWeights);
    case "regression":
      return squaredErrorSum(reshape(logits, [batch]), input(LABELS, "float32", [batch]));
    case "multi_label_classification":
      return binaryCrossEntropySum(logits, input(LABELS, "float32", logits.shape));
  }
}

/** Loss of next-token prediction: logits [B, T, V], int32 labels [B, T] → Σ over positions whose next
 * label counts. */
export function nextTokenLossSum(logits: Tensor): Tensor {
  const [batch, length, vocabulary] = logits.shape as [number, number, number];
  const labels = input(LABELS, "int32", [batch, length]);
  if (length === 1) throw new LowrankError("data", "a sequence of one token has no next token.");
  const shifted = reshape(slice(logits, 1, 0, length - 1), [batch * (length - 1), vocabulary]);
  return crossEntropySum(shifted, reshape(slice(labels, 1, 1, length), [-1]));
}

/** Number of labels that a loss is the mean of (with class weights: their sum, as in PyTorch). */
export function labelCount(
  labels: TypedArray,
  problem: ProblemType,
  classWeights?: readonly number[],
): number {
  if (problem !== "single_label_classification") return labels.length;
  let count = 0;
  for (const label of labels as Int32Array) {
    if (label !== IGNORED_LABEL) count += classWeights?.[label] ?? 1;
  }
  return count;
}

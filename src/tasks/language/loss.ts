/** @file The loss of next-token prediction, without the logits of a whole batch in memory at once. */
import { LowrankError } from "../../errors.ts";
import { resolveDimension } from "../../graph/dynamic.ts";
import { input } from "../../graph/leaves.ts";
import type { Tensor } from "../../graph/node.ts";
import { LanguageModel } from "../../models/heads.ts";
import type { Model } from "../../models/family.ts";
import { modelInputs, type InputOptions, type InputShape } from "../../models/inputs.ts";
import { crossEntropy } from "../../ops/functional.ts";
import { concat, slice, split } from "../../ops/movement.ts";
import { sum } from "../../ops/reduce.ts";
import { LABELS } from "../objectives.ts";

/** Logits that are computed at once: several times as much is needed for their gradient. */
const PART_BYTES = 2 ** 27;
/** What the length is taken for where it is known only when the graph runs. */
const LONG_TEXT = 512;

/**
 * Sum of -log p(next token) of each row: int32 labels [B, T], of which position t + 1 is what position t
 * predicts and -100 counts nothing → [B].
 *
 * The head is applied to a few rows after the other: a vocabulary of V = 50,257 takes 0.2 MB of logits a
 * token.
 */
export function rowLosses(model: Model, shape: InputShape, inputs?: InputOptions): Tensor {
  if (!(model instanceof LanguageModel)) {
    throw new LowrankError("graph", `${model.typeName()}: expected a language model.`);
  }
  const { batch, length } = shape;
  const hidden = slice(model.hiddenStates(modelInputs(shape, inputs)), 1, 0, length - 1);
  const labels = input(LABELS, "int32", [batch, length]);
  const parts = countParts(batch, 4 * resolveDimension(length, LONG_TEXT) * model.vocabSize);
  const next = split(slice(labels, 1, 1, length), parts, 0);
  const losses = split(hidden, parts, 0).map((part, i) =>
    sum(crossEntropy(model.logits(part), next[i]!), { axes: [1] }),
  );
  return concat(losses, 0);
}

/** The smallest number of equal parts of a batch that keeps each within PART_BYTES, or one for each row. */
export function countParts(batch: number, rowBytes: number): number {
  const fits = (parts: number): boolean =>
    batch % parts === 0 && (batch / parts) * rowBytes <= PART_BYTES;
  return Array.from({ length: batch }, (_, i) => i + 1).find(fits) ?? batch;
}

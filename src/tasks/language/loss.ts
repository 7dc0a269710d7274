/** @file The loss of next-token prediction, without the logits of a whole batch in memory at once. */
import { input } from "../../graph/leaves.ts";
import type { Tensor } from "../../graph/node.ts";
import { LanguageModel } from "../../models/heads.ts";
import type { Model } from "../../models/family.ts";
import { modelInputs, type InputOptions, type InputShape } from "../../models/inputs.ts";
import { crossEntropy } from "../../ops/functional.ts";
import { concat, slice, split } from "../../ops/movement.ts";
import { sum } from "../../ops/reduce.ts";
import { LABELS } from "../objectives.ts";

/**
 * Sum of -log p(next token) of each row: int32 labels [B, T], of which position t + 1 is what position t
 * predicts and -100 counts nothing → [B].
 *
 * The head is applied to the rows in `parts`, one after the other: a vocabulary of V = 50,257 takes 0.2 MB of
 * logits a token, and they are needed several times over for the gradient.
 */
export function rowLosses(
  model: Model,
  shape: InputShape,
  inputs?: InputOptions,
  parts = shape.batch,
): Tensor {
  const { batch, length } = shape;
  const language = model as LanguageModel;
  const hidden = slice(language.hiddenStates(modelInputs(shape, inputs)), 1, 0, length - 1);
  const labels = input(LABELS, "int32", [batch, length]);
  const next = split(slice(labels, 1, 1, length), parts, 0);
  const losses = split(hidden, parts, 0).map((part, i) =>
    sum(crossEntropy(language.logits(part), next[i]!), { axes: [1] }),
  );
  return concat(losses, 0);
}

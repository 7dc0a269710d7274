/** @file Which position's hidden state stands for a sequence in sequence classification. */
import type { Tensor } from "../graph/node.ts";
import { cast, div, equal, mul, sub } from "../ops/elementwise.ts";
import { iota, takeRows } from "../ops/indexing.ts";
import { reshape, slice } from "../ops/movement.ts";
import { max, sum } from "../ops/reduce.ts";
import type { ModelInputs } from "./family.ts";

/**
 * The hidden state at the rightmost token that is not padding, as transformers pools decoders:
 * [B, T, C] → [B, C]. Padding is recognised by `padTokenId`, or by the attention mask where the model
 * has no padding token.
 */
export function lastToken(
  hiddenStates: Tensor,
  inputs: ModelInputs,
  padTokenId: number | undefined,
): Tensor {
  const [batch, length, width] = hiddenStates.shape as [number, number, number];
  const isReal =
    padTokenId === undefined
      ? inputs.attentionMask
      : sub(1, cast(equal(inputs.inputIds, padTokenId), "int32"));
  const last = max(mul(isReal, iota(length)), { axes: [1], keepDims: true }); // [B, 1]
  return reshape(takeRows(hiddenStates, last, 1), [batch, width]);
}

/** The hidden state at the first token, [CLS] in BERT: [B, T, C] → [B, C]. */
export function firstToken(hiddenStates: Tensor): Tensor {
  const [batch, , width] = hiddenStates.shape as [number, number, number];
  return reshape(slice(hiddenStates, 1, 0, 1), [batch, width]);
}

/** The mean of the hidden states at real tokens: [B, T, C], int32 mask [B, T] → [B, C]. */
export function meanOfTokens(hiddenStates: Tensor, attentionMask: Tensor): Tensor {
  const [batch, length] = attentionMask.shape as [number, number];
  const isReal = cast(reshape(attentionMask, [batch, length, 1]), "float32");
  return div(sum(mul(hiddenStates, isReal), { axes: [1] }), sum(isReal, { axes: [1] }));
}

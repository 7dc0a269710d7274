/** @file Scaled dot-product attention and the reshapes around it. Letters: B batch, T query positions,
 * S key positions, H heads, D head width, C = H·D. */
import type { Tensor } from "../graph/node.ts";
import { dimension } from "../graph/shape.ts";
import { add, equal, greater, mul, where } from "../ops/elementwise.ts";
import { softmax } from "../ops/functional.ts";
import { iota } from "../ops/indexing.ts";
import { matmul } from "../ops/matmul.ts";
import { reshape, transpose } from "../ops/movement.ts";
import type { Dropout } from "./layers.ts";

/** What is added to the scores of keys that must not be seen: the lowest float32, as in transformers.
 * Finite, so that a row that sees no key gives numbers instead of NaN. */
export const MASKED = -3.4028234663852886e38;

/** [B, T, C] → [B, H, T, D] */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, length, width] = x.shape as [number, number, number];
  return transpose(reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
}

/** [B, H, T, D] → [B, T, C] */
export function mergeHeads(x: Tensor): Tensor {
  const [batch, heads, length, width] = x.shape as [number, number, number, number];
  return reshape(transpose(x, [0, 2, 1, 3]), [batch, length, heads * width]);
}

/** 0 where a key is real, MASKED where it is padding: int32 mask [B, S] → [B, 1, 1, S]. */
export function paddingBias(attentionMask: Tensor): Tensor {
  const [batch, length] = attentionMask.shape as [number, number];
  return where(equal(reshape(attentionMask, [batch, 1, 1, length]), 0), MASKED, 0);
}

/** Whether query t must not see key s, which comes after it: bool [1, 1, T, T]. */
function isFuture(length: number): Tensor {
  const places = iota(length);
  return greater(reshape(places, [1, 1, 1, length]), reshape(places, [1, 1, length, 1]));
}

/** 0 where query t may see key s ≤ t, MASKED elsewhere: [1, 1, T, T]. */
export function causalBias(length: number): Tensor {
  return where(isFuture(length), MASKED, 0);
}

/** Both masks at once: [B, 1, T, T]. A key that either hides stays hidden (no overflow to -inf). */
export function causalPaddingBias(attentionMask: Tensor): Tensor {
  const length = dimension(attentionMask.shape, 1);
  return where(isFuture(length), MASKED, paddingBias(attentionMask));
}

export interface AttentionOptions {
  /** Added to the scores, broadcasting to [B, H, T, S]. */
  readonly bias?: Tensor;
  /** Default 1/√D. */
  readonly scale?: number;
  /** Dropout of the attention probabilities. */
  readonly dropout?: Dropout;
}

/** softmax(q·kᵀ·scale + bias)·v: q [B, H, T, D], k, v [B, H, S, D] → [B, H, T, D]. */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { bias, scale = 1 / Math.sqrt(dimension(q.shape, -1)), dropout }: AttentionOptions = {},
): Tensor {
  const scores = mul(matmul(q, k, { transposeB: true }), scale);
  const probabilities = softmax(bias ? add(scores, bias) : scores); // [B, H, T, S]
  return matmul(dropout ? dropout.forward(probabilities) : probabilities, v);
}

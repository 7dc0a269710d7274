/** @file Scaled dot-product attention and the reshapes around it. Letters: B batch, T query positions,
 * S key positions, H heads, D head width, C = H·D. */
import { LowrankError } from "../errors.ts";
import type { Tensor } from "../graph/node.ts";
import { dimension } from "../graph/shape.ts";
import { add, equal, greater, less, mul, tanh, where } from "../ops/elementwise.ts";
import { softmax } from "../ops/functional.ts";
import { iota } from "../ops/indexing.ts";
import { matmul } from "../ops/matmul.ts";
import { reshape, transpose } from "../ops/movement.ts";
import type { Layer } from "./module.ts";

/** What is added to the scores of keys that must not be seen: the lowest float32, as in transformers.
 * Finite, so that a row that sees no key gives numbers instead of NaN. */
export const MASKED = -3.4028234663852886e38;

/** [B, T, C] → [B, H, T, D]. Throws LowrankError("config") when the heads do not divide the width. */
export function splitHeads(x: Tensor, heads: number): Tensor {
  const [batch, length, width] = x.shape as [number, number, number];
  if (width % heads !== 0) {
    throw new LowrankError(
      "config",
      `attention: expected a width that its ${heads} heads divide, got ${width}. Check the sizes in config.json.`,
    );
  }
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

/** The numbers of queries, [1, 1, T, 1], and of keys, [1, 1, 1, T]. */
function places(length: number): { query: Tensor; key: Tensor } {
  const numbers = iota(length);
  return {
    query: reshape(numbers, [1, 1, length, 1]),
    key: reshape(numbers, [1, 1, 1, length]),
  };
}

/** 0 where query t may see key s ≤ t, MASKED elsewhere: [1, 1, T, T]. */
export function causalBias(length: number): Tensor {
  const { query, key } = places(length);
  return where(greater(key, query), MASKED, 0);
}

/** Causal attention to real keys: 0 where query t sees key s ≤ t, MASKED elsewhere; with a sliding
 * window, the last `window` keys only: t - s < window. int32 mask [B, T] → [B, 1, T, T]. A key that is
 * hidden twice stays hidden (no overflow to -inf). */
export function causalPaddingBias(attentionMask: Tensor, window?: number): Tensor {
  const { query, key } = places(dimension(attentionMask.shape, 1));
  const real = paddingBias(attentionMask);
  const seen = window === undefined ? real : where(less(key, add(query, 1 - window)), MASKED, real);
  return where(greater(key, query), MASKED, seen);
}

/** Attention to real keys in both directions, no further than `reach`: 0 where |t - s| ≤ reach, MASKED
 * elsewhere. int32 mask [B, T] → [B, 1, T, T]. */
export function localPaddingBias(attentionMask: Tensor, reach: number): Tensor {
  const { query, key } = places(dimension(attentionMask.shape, 1));
  const real = paddingBias(attentionMask);
  const notBefore = where(less(key, add(query, -reach)), MASKED, real);
  return where(greater(key, add(query, reach)), MASKED, notBefore);
}

/** A limit that scores approach smoothly: `cap·tanh(x / cap)`.
 * Source: https://arxiv.org/abs/2408.00118, section 2 */
export function softCap(x: Tensor, cap: number): Tensor {
  return mul(tanh(mul(x, 1 / cap)), cap);
}

export interface AttentionOptions {
  /** Added to the scores, broadcasting to [B, H, T, S]. */
  readonly bias?: Tensor;
  /** Default 1/√D. */
  readonly scale?: number | undefined;
  /** Soft limit of the scaled scores, before the bias. Default none. */
  readonly softCap?: number | undefined;
  /** Dropout of the attention probabilities. */
  readonly dropout?: Pick<Layer, "forward">;
}

/** softmax(q·kᵀ·scale + bias)·v: q [B, H, T, D], k, v [B, H, S, D] → [B, H, T, D]. More axes before T
 * and S broadcast. */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions = {},
): Tensor {
  const { bias, scale = 1 / Math.sqrt(dimension(q.shape, -1)), softCap: cap, dropout } = options;
  const product = mul(matmul(q, k, { transposeB: true }), scale);
  const scores = cap === undefined ? product : softCap(product, cap);
  const probabilities = softmax(bias ? add(scores, bias) : scores); // [B, H, T, S]
  return matmul(dropout ? dropout.forward(probabilities) : probabilities, v);
}

/**
 * Attention whose keys and values are shared by groups of G = H/K query heads: q [B, H, T, D], k, v
 * [B, K, S, D], bias [B or 1, 1, T, S] → [B, H, T, D]. Query head h reads key head ⌊h/G⌋. The keys are
 * broadcast by the products instead of being repeated. Source: https://arxiv.org/abs/2305.13245
 */
export function groupedQueryAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions = {},
): Tensor {
  const [batch, heads, length, width] = q.shape as [number, number, number, number];
  const [, groups, keys] = k.shape as [number, number, number];
  if (groups === heads) return scaledDotProductAttention(q, k, v, options);
  const query = reshape(q, [batch, groups, heads / groups, length, width]);
  const [key, value] = [k, v].map((x) => reshape(x, [batch, groups, 1, keys, width]));
  const { bias } = options;
  const attended = scaledDotProductAttention(query, key!, value!, {
    ...options,
    ...(bias ? { bias: reshape(bias, [bias.shape[0]!, 1, 1, ...bias.shape.slice(2)]) } : {}),
  }); // [B, K, G, T, D]
  return reshape(attended, q.shape);
}

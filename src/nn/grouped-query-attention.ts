/** @file Self-attention with rotary positions whose query heads share keys and values in groups, as in
 * LLaMA and its descendants. Sources: https://arxiv.org/abs/2305.13245, https://arxiv.org/abs/2104.09864.
 * Letters: K heads of keys and values. */
import type { Tensor } from "../graph/node.ts";
import { groupedQueryAttention, mergeHeads, splitHeads } from "./attention.ts";
import { withEarlier, type KeyValueCache } from "./key-value-cache.ts";
import { dropoutIn, Linear, type RmsNorm } from "./layers.ts";
import { Module, type Layer } from "./module.ts";
import { applyRotation, type Rotation } from "./rotary.ts";

export interface GroupedQueryAttentionOptions {
  /** C, of what comes in and goes out. */
  readonly width: number;
  /** H */
  readonly heads: number;
  /** K, a divisor of H. */
  readonly keyValueHeads: number;
  /** D */
  readonly headWidth: number;
  /** Biases of the projections to queries, keys and values. Default false. */
  readonly bias?: boolean;
  /** Bias of the output projection. Default false. */
  readonly outputBias?: boolean;
  /** Normalization of each head's queries and keys before the rotation. Default none. */
  readonly headNorm?: () => RmsNorm;
  /** Factor of the scores. Default 1/√D. */
  readonly scale?: number | undefined;
  /** Soft limit of the scores. Default none. */
  readonly softCap?: number | undefined;
  /** Probability of dropping an attention probability. */
  readonly dropout: number;
}

/** What a layer adds to its input is computed with: where its tokens look, and where they are. */
export interface Place {
  /** 0 or MASKED: [B, 1, T, T]. */
  readonly bias: Tensor;
  readonly rotation: Rotation;
  readonly cache?: KeyValueCache | undefined;
}

/** Attention in which several heads of queries share one of keys and values. x: [B, T, C] → [B, T, C]. Source:
 * https://arxiv.org/abs/2305.13245 */
export class GroupedQueryAttention extends Module {
  readonly #options: GroupedQueryAttentionOptions;
  q_proj: Layer;
  k_proj: Layer;
  v_proj: Layer;
  o_proj: Layer;
  q_norm?: RmsNorm;
  k_norm?: RmsNorm;

  constructor(options: GroupedQueryAttentionOptions) {
    super();
    this.#options = options;
    const { width, heads, keyValueHeads, headWidth, bias = false, outputBias = false } = options;
    this.q_proj = new Linear(width, heads * headWidth, { bias });
    this.k_proj = new Linear(width, keyValueHeads * headWidth, { bias });
    this.v_proj = new Linear(width, keyValueHeads * headWidth, { bias });
    this.o_proj = new Linear(heads * headWidth, width, { bias: outputBias });
    if (options.headNorm) {
      this.q_norm = options.headNorm();
      this.k_norm = options.headNorm();
    }
  }

  /** x: [B, T, C] → [B, T, C] */
  forward(x: Tensor, { bias, rotation, cache }: Place): Tensor {
    const { heads, keyValueHeads, dropout, scale, softCap } = this.#options;
    const q = splitHeads(this.q_proj.forward(x), heads); // [B, H, T, D]
    const k = splitHeads(this.k_proj.forward(x), keyValueHeads); // [B, K, T, D]
    const v = splitHeads(this.v_proj.forward(x), keyValueHeads);
    const query = applyRotation(this.q_norm?.forward(q) ?? q, rotation);
    const key = applyRotation(this.k_norm?.forward(k) ?? k, rotation);
    const attended = groupedQueryAttention(query, ...withEarlier(cache, key, v), {
      bias,
      scale,
      softCap,
      dropout: { forward: (probabilities) => dropoutIn(this, probabilities, dropout) },
    });
    return this.o_proj.forward(mergeHeads(attended));
  }
}

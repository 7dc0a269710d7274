/** @file Keys and values of earlier tokens, so that a decoder computes each token once. A model asks for its bias and, in each layer,
 * hands over the keys and values of the tokens at hand; what it gets are those to attend to. Letters: B sequences, T tokens at
 * hand, S slots of the cache, K heads of keys and values, D head width. */
import { LowrankError } from "../errors.ts";
import { input } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import { dimension, type Shape } from "../graph/shape.ts";
import { add, equal, less, where } from "../ops/elementwise.ts";
import { iota } from "../ops/indexing.ts";
import { pad, reshape } from "../ops/movement.ts";
import { causalPaddingBias, MASKED, paddingBias } from "./attention.ts";

export interface KeyValueCache {
  /** 0 where a token at hand sees a key, MASKED elsewhere, for `attentionMask`: [B, 1, T, keys]. */
  bias(attentionMask: Tensor, window?: number): Tensor;
  /** The next layer's keys and values of the tokens at hand, [B, K, T, D] → those to attend to. */
  extend(key: Tensor, value: Tensor): readonly [key: Tensor, value: Tensor];
}

/** What a decoder's tokens see: all before them, through a window where there is one. */
export function causalAttentionBias(
  {
    attentionMask,
    cache,
  }: { readonly attentionMask: Tensor; readonly cache?: KeyValueCache | undefined },
  window?: number,
): Tensor {
  return cache ? cache.bias(attentionMask, window) : causalPaddingBias(attentionMask, window);
}

/** The keys and values to attend to: those of the tokens at hand, with all before them where there is a cache. */
export function withEarlier(
  cache: KeyValueCache | undefined,
  key: Tensor,
  value: Tensor,
): readonly [keys: Tensor, values: Tensor] {
  return cache ? cache.extend(key, value) : [key, value];
}

/** Both keep the tensors of each layer under these names. */
const names = (layer: number): readonly [key: string, value: string] => [
  `cache/${layer}/key`,
  `cache/${layer}/value`,
];

/** For the tokens of a prompt, which are the first: their keys and values become the first of the cache's slots. */
export class PromptCache implements KeyValueCache {
  readonly #slots: number;
  /** What the cache holds afterwards, [B, K, S, D], by name. */
  readonly contents: Record<string, Tensor> = {};
  #layers = 0;

  constructor(slots: number) {
    this.#slots = slots;
  }

  bias(attentionMask: Tensor, window?: number): Tensor {
    return causalPaddingBias(attentionMask, window);
  }

  extend(key: Tensor, value: Tensor): readonly [Tensor, Tensor] {
    const free = this.#slots - dimension(key.shape, 2);
    const [keyName, valueName] = names(this.#layers++);
    this.contents[keyName] = pad(key, 2, 0, free);
    this.contents[valueName] = pad(value, 2, 0, free);
    return [key, value];
  }
}

/** The slot that the token at hand gets: int32 [1]. */
export const CACHE_SLOT = "cache_slot";

/** For one token, T = 1, with all before it in the cache. `attentionMask` is of the slots: [B, S]. */
export class StepCache implements KeyValueCache {
  readonly #slot = input(CACHE_SLOT, "int32", [1]);
  readonly #shapes: readonly Shape[];
  /** What the cache holds afterwards, [B, K, S, D], by name. */
  readonly contents: Record<string, Tensor> = {};
  #layers = 0;

  /** @param prompt the cache of the prompt's graph, of whose sizes this one is */
  constructor({ contents }: PromptCache) {
    this.#shapes = Object.values(contents).map(({ shape }) => shape);
  }

  bias(attentionMask: Tensor, window?: number): Tensor {
    const real = paddingBias(attentionMask); // slots that are not filled count as padding
    if (window === undefined) return real;
    const slots = reshape(iota(dimension(attentionMask.shape, 1)), [1, 1, 1, -1]);
    return where(less(slots, add(this.#slot, 1 - window)), MASKED, real);
  }

  extend(key: Tensor, value: Tensor): readonly [Tensor, Tensor] {
    const layer = this.#layers++;
    const [keyName, valueName] = names(layer);
    const all = [
      this.#put(keyName, 2 * layer, key),
      this.#put(valueName, 2 * layer + 1, value),
    ] as const;
    [this.contents[keyName], this.contents[valueName]] = all;
    return all;
  }

  /** The stored tensor with the token's row in its slot. */
  #put(name: string, index: number, row: Tensor): Tensor {
    const shape = this.#shapes[index];
    if (!shape) throw new LowrankError("graph", `${name}: the prompt's graph has no such layer.`);
    const isSlot = equal(reshape(iota(dimension(shape, 2)), [1, 1, -1, 1]), this.#slot);
    return where(isSlot, row, input(name, "float32", shape));
  }
}

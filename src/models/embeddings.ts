/** @file Position numbers. */
import type { Tensor } from "../graph/node.ts";
import { iota } from "../ops/indexing.ts";
import { reshape } from "../ops/movement.ts";

/** 0, 1, 2, …: int32 [1, T]. */
export function positions(length: number): Tensor {
  return reshape(iota(length), [1, length]);
}

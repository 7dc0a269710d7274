/** @file Position numbers. */
import { constant } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";

/** 0, 1, 2, …: int32 [1, T]. */
export function positions(length: number): Tensor {
  return constant(
    "int32",
    [1, length],
    Int32Array.from({ length }, (_, t) => t),
  );
}

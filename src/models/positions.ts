/** @file The numbers of positions. */
import type { Tensor } from "../graph/node.ts";
import { dimension } from "../graph/shape.ts";
import { add, cast, equal, greater, mul, sub, where } from "../ops/elementwise.ts";
import { iota } from "../ops/indexing.ts";
import { matmul } from "../ops/matmul.ts";
import { reshape } from "../ops/movement.ts";
import type { ModelInputs } from "./family.ts";

/** 0, 1, 2, …: int32 [1, T]. */
export function positions(length: number): Tensor {
  return reshape(iota(length), [1, length]);
}

/** The positions that are given, or 0, 1, 2, … for every row: int32 [B or 1, T]. */
export function positionsOf({
  inputIds,
  positionIds,
}: Pick<ModelInputs, "inputIds" | "positionIds">): Tensor {
  return positionIds ?? positions(dimension(inputIds.shape, 1));
}

/** RoBERTa's numbers: real tokens count from padTokenId + 1 wherever padding stands, and padding has
 * padTokenId. int32 [B, T] → [B, T]. */
export function positionsOfTokens(inputIds: Tensor, padTokenId: number): Tensor {
  const length = dimension(inputIds.shape, 1);
  const isReal = sub(1, cast(equal(inputIds, padTokenId), "float32"));
  // Element [s, t] is 1 where s ≤ t, so that the product is a running sum: exact, for it is below 2²⁴.
  const places = iota(length);
  const upTo = where(greater(reshape(places, [length, 1]), places), 0, 1);
  const count = matmul(isReal, upTo); // [B, T]
  return cast(add(mul(count, isReal), padTokenId), "int32");
}

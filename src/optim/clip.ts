/** @file Gradient norm and clipping. */
import type { Tensor } from "../graph/node.ts";
import { add, div, minimum, sqrt } from "../ops/elementwise.ts";
import { sumOfSquares } from "../ops/reduce.ts";

/** √Σ g² over all gradients: a scalar. */
export function globalNorm(gradients: readonly Tensor[]): Tensor {
  const squares = gradients.map(sumOfSquares);
  return sqrt(squares.reduce((total, square) => add(total, square)));
}

/** The factor of all gradients: maxNorm / (norm + 1e-6) where that is below 1, as PyTorch's clip_grad_norm_ has it. */
export function clippingFactor(norm: Tensor, maxNorm: number): Tensor {
  return minimum(div(maxNorm, add(norm, 1e-6)), 1);
}

/** The same factor of a norm that is known, in float32. */
export function clipFactor(norm: number, maxNorm: number): number {
  return Math.min(Math.fround(Math.fround(maxNorm) / Math.fround(norm + Math.fround(1e-6))), 1);
}

/** @file AdamW as graph nodes: compiled into the training step.
 * Source: "Decoupled Weight Decay Regularization", https://arxiv.org/abs/1711.05101; the order of
 * operations is PyTorch's torch.optim.AdamW. */
import type { Tensor } from "../graph/node.ts";
import { add, div, mul, sqrt, sub } from "../ops/elementwise.ts";

export interface AdamWOptions {
  /** Decay rates of the moments. Default [0.9, 0.999]. */
  readonly betas: readonly [number, number];
  /** Default 1e-8. */
  readonly eps: number;
  /** Decoupled weight decay. Default 0. */
  readonly weightDecay: number;
}

export const ADAMW_DEFAULTS: AdamWOptions = { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 };

/** Scalars that change from step to step, fed to the graph. */
export interface AdamWScalars {
  readonly learningRate: Tensor;
  /** 1 - β₁ᵗ and 1 - β₂ᵗ, t counted from 1. */
  readonly biasCorrections: readonly [Tensor, Tensor];
}

export interface AdamWState {
  readonly parameter: Tensor;
  /** Running means of g and g². */
  readonly firstMoment: Tensor;
  readonly secondMoment: Tensor;
}

/**
 * One update, elementwise over tensors of any one shape:
 * m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g²,
 * p ← p·(1 - lr·λ) - lr·(m / (1-β₁ᵗ)) / (√(v / (1-β₂ᵗ)) + eps).
 */
export function adamw(
  state: AdamWState,
  gradient: Tensor,
  { learningRate, biasCorrections }: AdamWScalars,
  { betas: [beta1, beta2], eps, weightDecay }: AdamWOptions,
): AdamWState {
  const firstMoment = add(mul(state.firstMoment, beta1), mul(gradient, 1 - beta1));
  const secondMoment = add(mul(state.secondMoment, beta2), mul(mul(gradient, gradient), 1 - beta2));
  const rootOfCorrection = sqrt(biasCorrections[1]);
  const denominator = add(div(sqrt(secondMoment), rootOfCorrection), eps);
  const rate = div(learningRate, biasCorrections[0]);
  const decayed =
    weightDecay === 0
      ? state.parameter
      : mul(state.parameter, sub(1, mul(learningRate, weightDecay)));
  const parameter = sub(decayed, mul(rate, div(firstMoment, denominator)));
  return { parameter, firstMoment, secondMoment };
}

/** 1 - βᵗ for both moments; `step` counts from 1. */
export function biasCorrections(
  { betas }: Pick<AdamWOptions, "betas">,
  step: number,
): [number, number] {
  return [1 - betas[0] ** step, 1 - betas[1] ** step];
}

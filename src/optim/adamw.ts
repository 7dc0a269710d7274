/** @file AdamW as graph nodes: compiled into the training step.
 * Source: "Decoupled Weight Decay Regularization", https://arxiv.org/abs/1711.05101; equal to PyTorch's
 * torch.optim.AdamW up to rounding. */
import type { Tensor } from "../graph/node.ts";
import { add, div, mul, sqrt, sub } from "../ops/elementwise.ts";
import type { AdamWFactors } from "../runtime/adamw-kernel.ts";

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
  /** Factor of the gradient, of clipping. Default 1. */
  readonly gradientScale?: Tensor | undefined;
}

export interface AdamWState {
  readonly parameter: Tensor;
  /** Running means of g and g². */
  readonly firstMoment: Tensor;
  readonly secondMoment: Tensor;
}

/**
 * One update, elementwise over tensors of any one shape, g the scaled gradient:
 * m ← β₁m + (1-β₁)g, v ← β₂v + (1-β₂)g²,
 * p ← p·(1 - lr·λ) - lr·(m / (1-β₁ᵗ)) / (√(v / (1-β₂ᵗ)) + eps).
 *
 * Each operation is a pass over the parameters, so that factors are brought together among the scalars:
 * (1-β₂)g² is the square of √(1-β₂)·g, and with c = √(1-β₂ᵗ) the last term is lr·c / (1-β₁ᵗ) · m / (√v + c·eps).
 */
export function adamw(
  state: AdamWState,
  gradient: Tensor,
  { learningRate, biasCorrections, gradientScale }: AdamWScalars,
  { betas: [beta1, beta2], eps, weightDecay }: AdamWOptions,
): AdamWState {
  const scaled = (factor: number): Tensor =>
    mul(gradient, gradientScale ? mul(gradientScale, factor) : factor);
  const firstMoment = add(mul(state.firstMoment, beta1), scaled(1 - beta1));
  const root = scaled(Math.sqrt(1 - beta2));
  const secondMoment = add(mul(state.secondMoment, beta2), mul(root, root));
  const correction = sqrt(biasCorrections[1]);
  const denominator = add(sqrt(secondMoment), mul(correction, eps));
  const rate = div(mul(learningRate, correction), biasCorrections[0]);
  const decayed =
    weightDecay === 0
      ? state.parameter
      : mul(state.parameter, sub(1, mul(learningRate, weightDecay)));
  const parameter = sub(decayed, mul(rate, div(firstMoment, denominator)));
  return { parameter, firstMoment, secondMoment };
}

/** The same update as what the kernel of runtime/adamw-kernel.ts multiplies by. */
export function adamwFactors(
  {
    learningRate,
    biasCorrections: [correction1, correction2],
    gradientScale,
  }: {
    readonly learningRate: number;
    readonly biasCorrections: readonly [number, number];
    readonly gradientScale: number;
  },
  { betas: [beta1, beta2], eps, weightDecay }: AdamWOptions,
): AdamWFactors {
  const correction = Math.sqrt(correction2);
  return {
    decay1: beta1,
    gain1: gradientScale * (1 - beta1),
    decay2: beta2,
    gain2: gradientScale * Math.sqrt(1 - beta2),
    eps: correction * eps,
    rate: (learningRate * correction) / correction1,
    keep: 1 - learningRate * weightDecay,
  };
}

/** 1 - βᵗ for both moments; `step` counts from 1. */
export function biasCorrections(
  { betas }: Pick<AdamWOptions, "betas">,
  step: number,
): [number, number] {
  return [1 - betas[0] ** step, 1 - betas[1] ** step];
}

/**
 * @file One training step as one graph: forward, loss, gradients, clipping, optimizer. (Many trained weights: split-step.ts.)
 *
 * A step over several micro-batches has the loss of the big batch: every micro-batch sums its losses
 * and divides by the number of labels of the whole step, which is fed. Its graph is one of four, by
 * whether gradients of earlier micro-batches come in and whether the update is made or gradients go out.
 */
import { grad } from "../../autodiff/grad.ts";
import type { Graph } from "../../graph/graph.ts";
import { input } from "../../graph/leaves.ts";
import type { Tensor } from "../../graph/node.ts";
import type { ParameterRule } from "../../lora/lora-plus.ts";
import { bindParameters } from "../../nn/bind.ts";
import type { Module } from "../../nn/module.ts";
import { add, mul } from "../../ops/elementwise.ts";
import { adamw, type AdamWOptions, type AdamWScalars, type AdamWState } from "../../optim/adamw.ts";
import { clippingFactor, globalNorm } from "../../optim/clip.ts";
import { deadRows } from "../../passes/dead-rows.ts";
import type { OptimizeOptions } from "../../passes/optimize.ts";
import { PASSES, type PassName } from "../../passes/optimize.ts";
import { flattenGradients, type Bucket } from "./trainable.ts";

/** Names of the scalars that a step is fed, float32 []. */
export const STEP_INPUTS = {
  learningRate: "learning_rate",
  biasCorrection1: "bias_correction_1",
  biasCorrection2: "bias_correction_2",
  /** 1 / number of labels of the whole step. */
  lossScale: "loss_scale",
} as const;

export interface StepOptions extends AdamWOptions {
  /** Clip the global norm of the gradients to this. */
  readonly maxGradNorm?: number;
}

export interface StepKind {
  /** Add to gradients that are already there. */
  readonly accumulated: boolean;
  /** Update the parameters; otherwise leave the gradients. */
  readonly update: boolean;
}

export interface StepGraph {
  /** Outputs "loss" and, with an update, "grad_norm", next to those of `updates`. */
  readonly graph: Graph;
  /** Output → name in the engine's store. */
  readonly updates: Readonly<Record<string, string>>;
}

/**
 * Build the graph of a step.
 * @param lossSum the sum of the losses of one micro-batch: a scalar that depends on `model`'s parameters
 */
export function buildStep(
  model: Module,
  buckets: readonly Bucket[],
  lossSum: Tensor,
  kind: StepKind,
  options: StepOptions,
  { passes = PASSES }: Pick<OptimizeOptions, "passes"> = {},
): StepGraph {
  const { loss, gradients } = gradientsOf(buckets, lossSum, passes);

  const outputs: Record<string, Tensor> = { loss };
  const updates: Record<string, string> = {};
  const update = (name: string, value: Tensor): void => {
    outputs[`next.${name}`] = value;
    updates[`next.${name}`] = name;
  };

  let first = 0;
  const vectors = buckets.map((bucket) => {
    const { members, names, length } = bucket;
    const own = flattenGradients(gradients.slice(first, (first += members.length)));
    return kind.accumulated ? add(input(names.gradient, "float32", [length]), own) : own;
  });
  if (kind.update) {
    const norm = globalNorm(vectors);
    outputs["grad_norm"] = norm;
    const scale =
      options.maxGradNorm === undefined ? undefined : clippingFactor(norm, options.maxGradNorm);
    for (const [index, { names, length, rate, decays }] of buckets.entries()) {
      const state = {
        parameter: input(names.parameter, "float32", [length]),
        firstMoment: input(names.firstMoment, "float32", [length]),
        secondMoment: input(names.secondMoment, "float32", [length]),
      };
      const next = updated(state, vectors[index]!, scale, { rate, decays }, options);
      for (const key of ["parameter", "firstMoment", "secondMoment"] as const) {
        update(names[key], next[key]);
      }
    }
  } else {
    for (const [index, { names }] of buckets.entries()) update(names.gradient, vectors[index]!);
  }
  return { graph: bindParameters({ outputs }, model), updates };
}

/** The loss, scaled as it is fed, and the gradients of all members of the buckets. */
export function gradientsOf(
  buckets: readonly Bucket[],
  lossSum: Tensor,
  passes: readonly PassName[],
): ReturnType<typeof grad> {
  const scaled = mul(lossSum, scalarInput(STEP_INPUTS.lossScale));
  const forward = passes.includes("dead-rows")
    ? deadRows({ outputs: { scaled } })
    : { outputs: { scaled } };
  const parameters = buckets.flatMap(({ members }) => members.map((member) => member.parameter));
  return grad(forward.outputs["scaled"]!, parameters);
}

export function scalarInput(name: string): Tensor {
  return input(name, "float32", []);
}

/** The new state of an optimizer of a bucket or a part of it. */
export function updated(
  state: AdamWState,
  gradient: Tensor,
  gradientScale: Tensor | undefined,
  { rate, decays }: ParameterRule,
  options: AdamWOptions,
): AdamWState {
  const scalars = optimizerScalars();
  const learningRate = rate === 1 ? scalars.learningRate : mul(scalars.learningRate, rate);
  const own = optionsUnder({ decays }, options);
  return adamw(state, gradient, { ...scalars, learningRate, gradientScale }, own);
}

/** The optimizer's options for parameters with a rule. */
export const optionsUnder = (
  { decays }: Pick<ParameterRule, "decays">,
  options: AdamWOptions,
): AdamWOptions => (decays ? options : { ...options, weightDecay: 0 });

function optimizerScalars(): AdamWScalars {
  return {
    learningRate: scalarInput(STEP_INPUTS.learningRate),
    biasCorrections: [
      scalarInput(STEP_INPUTS.biasCorrection1),
      scalarInput(STEP_INPUTS.biasCorrection2),
    ],
  };
}

/** @file Running training steps: feeds the compiled graphs, and keeps count of the steps. The model's parameters and the
 * optimizer state live in the engine. */
import { LowrankError } from "../../errors.ts";
import type { ParameterRule } from "../../lora/lora-plus.ts";
import { loadParameters } from "../../nn/bind.ts";
import { fromArray } from "../../nn/init.ts";
import { RANDOM_KEY } from "../../nn/layers.ts";
import { countParameters, type Module } from "../../nn/module.ts";
import type { Parameter } from "../../nn/parameter.ts";
import { biasCorrections } from "../../optim/adamw.ts";
import type { Engine } from "../../runtime/engine.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import { FusedStep } from "./fused-step.ts";
import { SplitStep } from "./split-step.ts";
import { STEP_INPUTS, type StepKind } from "./step.ts";
import {
  scalar,
  type MicroBatch,
  type StepContext,
  type StepPrograms,
  type StepResult,
} from "./step-programs.ts";
import {
  initialState,
  loadBuckets,
  makeBuckets,
  type Bucket,
  type FillState,
} from "./trainable.ts";

export type { MicroBatch, StepResult } from "./step-programs.ts";

/** Trainable numbers from which on a step is split in two (LOG.md has the measurements). */
const SPLIT_FROM = 2 ** 23;

/** Numbers after which a bucket of a split step is full: its state takes 2 GiB, half of what it can (runtime/adamw-kernel.ts). */
const SPLIT_BUCKET = 2 ** 27;

/** Whether steps over so many trainable numbers are split, unless asked otherwise. */
export const isSplit = (trainable: number): boolean => trainable >= SPLIT_FROM;

export type StepperOptions = StepContext["options"] & {
  /** Of dropout and of parameters that are initialised at random. */
  readonly seed: number;
  /** Other learning rates, or no weight decay, for some parameters. */
  readonly rules?: ReadonlyMap<Parameter, ParameterRule>;
  /** Compute gradients and update apart. Default: for many trainable parameters. */
  readonly split?: boolean;
  /** Numbers that are then updated at a time, by programs. Default: on the CPU all at once, by a kernel. */
  readonly pieceElements?: number;
  /** Go on from here instead of from the model's values. */
  readonly from?: StepperState | undefined;
};

/** Where an interrupted run was. */
export interface StepperState {
  readonly stepCount: number;
  readonly microBatchCount: number;
  readonly fill: FillState;
}

/** Training steps of a model: gradients over micro-batches, clipping and AdamW, as compiled programs in an engine.
 * Trains what requires gradients. */
export class Stepper {
  /** Optimizer steps made so far. */
  stepCount: number;
  /** Batches computed so far. */
  microBatchCount: number;
  readonly #programs: StepPrograms;
  readonly #context: StepContext;
  readonly #options: StepperOptions;
  readonly #initial: FillState;

  private constructor(
    programs: StepPrograms,
    context: StepContext,
    options: StepperOptions,
    initial: FillState,
  ) {
    this.#programs = programs;
    this.#context = context;
    this.#options = options;
    this.#initial = initial;
    this.stepCount = options.from?.stepCount ?? 0;
    this.microBatchCount = options.from?.microBatchCount ?? 0;
  }

  /** Load a model's parameters into an engine and prepare to train those that require gradients. */
  static async create(engine: Engine, model: Module, options: StepperOptions): Promise<Stepper> {
    const trainable = countParameters(model, { trainable: true });
    const { seed, rules, split = isSplit(trainable) } = options;
    const buckets = makeBuckets(model, rules, split ? SPLIT_BUCKET : undefined);
    if (buckets.length === 0) {
      throw new LowrankError(
        "training",
        "the model has no trainable parameters. Apply LoRA, or set requiresGrad.",
      );
    }
    await loadParameters(engine, model, {
      seed,
      filter: (_, parameter) => !parameter.requiresGrad,
    });
    const initial = options.from?.fill ?? initialState(model, seed);
    const context = { engine, model, buckets, options };
    const programs = split
      ? await SplitStep.create(context, options.pieceElements)
      : new FusedStep(context);
    await loadBuckets(engine, buckets, initial);
    return new Stepper(programs, context, options, initial);
  }

  /** The trainable parameters, as the engine holds them. */
  get buckets(): readonly Bucket[] {
    return this.#context.buckets;
  }

  /** One optimizer step over micro-batches, with the loss of all of them together. */
  async step(batches: readonly MicroBatch[], learningRate: number): Promise<StepResult> {
    const labels = batches.reduce((count, batch) => count + batch.labels, 0);
    const [correction1, correction2] = biasCorrections(this.#options, this.stepCount + 1);
    let loss = 0;
    let gradNorm = 0;
    for (const [index, batch] of batches.entries()) {
      const kind: StepKind = { accumulated: index > 0, update: index === batches.length - 1 };
      const result = await this.#programs.run(batch, kind, {
        [RANDOM_KEY]: this.#randomKey(),
        // Without labels the loss is 0 with zero gradients.
        [STEP_INPUTS.lossScale]: scalar(labels === 0 ? 0 : 1 / labels),
        [STEP_INPUTS.learningRate]: scalar(learningRate),
        [STEP_INPUTS.biasCorrection1]: scalar(correction1),
        [STEP_INPUTS.biasCorrection2]: scalar(correction2),
      });
      loss += result.loss;
      gradNorm = result.gradNorm;
    }
    this.stepCount++;
    return { loss, gradNorm };
  }

  /** The current values of a parameter. */
  async values(name: string): Promise<Float32Array> {
    return (await this.#context.engine.get(name)).data as Float32Array;
  }

  /** Copy what has been trained back into the model's parameters. */
  async synchronize(): Promise<void> {
    for (const { members } of this.buckets) {
      for (const { name, parameter } of members)
        parameter.values = fromArray(await this.values(name));
    }
  }

  /** Back to the values of the beginning. */
  async reset(): Promise<void> {
    await loadBuckets(this.#context.engine, this.buckets, this.#initial);
  }

  /** Free the compiled steps. */
  async release(): Promise<void> {
    await this.#programs.release();
  }

  #randomKey(): HostTensor {
    const key = Int32Array.of(this.#options.seed, this.microBatchCount++);
    return { dtype: "int32", shape: [2], data: key };
  }
}

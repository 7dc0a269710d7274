/** @file Running training steps: compiles a step's graph once per batch shape, feeds it, and keeps count
 * of the steps. The model's parameters and the optimizer state live in the engine. */
import type { Graph } from "../graph/graph.ts";
import type { Tensor } from "../graph/node.ts";
import type { ParameterRule } from "../lora/lora-plus.ts";
import { loadParameters } from "../nn/bind.ts";
import { RANDOM_KEY } from "../nn/layers.ts";
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { fromArray } from "../nn/init.ts";
import { LowrankError } from "../errors.ts";
import { biasCorrections } from "../optim/adamw.ts";
import type { OptimizeOptions } from "../passes/optimize.ts";
import { compile } from "../runtime/compile.ts";
import type { Engine, Program } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { buildStep, STEP_INPUTS, type StepKind, type StepOptions } from "./step.ts";
import { loadBuckets, makeBuckets, type Bucket } from "./trainable.ts";

export interface MicroBatch {
  /** Batches with equal keys have equal shapes: they share a compiled step. */
  readonly key: string;
  /** The sum of the losses, built when a key is first seen. */
  readonly lossSum: () => Tensor;
  readonly feeds: Readonly<Record<string, HostTensor>>;
  /** Number of labels that lossSum is the sum over. */
  readonly labels: number;
}

export interface StepResult {
  /** Mean over the labels of all micro-batches. */
  readonly loss: number;
  /** Norm of the gradient before clipping. */
  readonly gradNorm: number;
}

export interface StepperOptions extends StepOptions, Pick<OptimizeOptions, "passes"> {
  /** Called with the optimized graph of every step that is compiled. */
  readonly onGraph?: (graph: Graph) => void;
  /** Of dropout and of parameters that are initialised at random. */
  readonly seed: number;
  /** Other learning rates, or no weight decay, for some parameters. */
  readonly rules?: ReadonlyMap<Parameter, ParameterRule>;
}

interface CompiledStep {
  readonly program: Program;
  readonly updates: Readonly<Record<string, string>>;
}

export class Stepper {
  /** Optimizer steps made so far. */
  stepCount = 0;
  readonly #engine: Engine;
  readonly #model: Module;
  readonly #options: StepperOptions;
  /** The trainable parameters, as the engine holds them. */
  readonly buckets: readonly Bucket[];
  readonly #compiled = new Map<string, Promise<CompiledStep>>();
  #microBatchCount = 0;
  /** Made once: later programs find gradients there that they add to. */
  #gradients: Promise<void> | undefined;

  private constructor(
    engine: Engine,
    model: Module,
    options: StepperOptions,
    buckets: readonly Bucket[],
  ) {
    this.#engine = engine;
    this.#model = model;
    this.#options = options;
    this.buckets = buckets;
  }

  /** Load a model's parameters into an engine and prepare to train those that require gradients. */
  static async create(engine: Engine, model: Module, options: StepperOptions): Promise<Stepper> {
    const buckets = makeBuckets(model, options.rules);
    if (buckets.length === 0) {
      throw new LowrankError(
        "training",
        "the model has no trainable parameters. Apply LoRA, or set requiresGrad.",
      );
    }
    const { seed } = options;
    await loadParameters(engine, model, {
      seed,
      filter: (_, parameter) => !parameter.requiresGrad,
    });
    await loadBuckets(engine, buckets, seed);
    return new Stepper(engine, model, options, buckets);
  }

  /** One optimizer step over micro-batches, with the loss of all of them together. */
  async step(batches: readonly MicroBatch[], learningRate: number): Promise<StepResult> {
    const labels = batches.reduce((count, batch) => count + batch.labels, 0);
    const [correction1, correction2] = biasCorrections(this.#options, this.stepCount + 1);
    let loss = 0;
    let gradNorm = 0;
    for (const [index, batch] of batches.entries()) {
      const kind: StepKind = { accumulated: index > 0, update: index === batches.length - 1 };
      const { program, updates } = await this.#compile(batch, kind);
      const { outputs } = await this.#engine.run(program, {
        feeds: {
          ...batch.feeds,
          [RANDOM_KEY]: this.#randomKey(),
          // Without labels the loss is 0 with zero gradients.
          [STEP_INPUTS.lossScale]: scalar(labels === 0 ? 0 : 1 / labels),
          [STEP_INPUTS.learningRate]: scalar(learningRate),
          [STEP_INPUTS.biasCorrection1]: scalar(correction1),
          [STEP_INPUTS.biasCorrection2]: scalar(correction2),
        },
        updates,
        fetch: kind.update ? ["loss", "grad_norm"] : ["loss"],
      });
      loss += outputs["loss"]!.data[0] as number;
      if (kind.update) gradNorm = outputs["grad_norm"]!.data[0] as number;
    }
    this.stepCount++;
    return { loss, gradNorm };
  }

  /** The current values of a parameter. */
  async values(name: string): Promise<Float32Array> {
    return (await this.#engine.get(name)).data as Float32Array;
  }

  /** Copy what has been trained back into the model's parameters. */
  async synchronize(): Promise<void> {
    for (const { members } of this.buckets) {
      for (const { name, parameter } of members)
        parameter.values = fromArray(await this.values(name));
    }
  }

  /** Free the compiled steps. */
  async release(): Promise<void> {
    for (const step of this.#compiled.values()) await this.#engine.release((await step).program);
    this.#compiled.clear();
  }

  #randomKey(): HostTensor {
    const key = Int32Array.of(this.#options.seed, this.#microBatchCount++);
    return { dtype: "int32", shape: [2], data: key };
  }

  async #compile(batch: MicroBatch, kind: StepKind): Promise<CompiledStep> {
    const key = `${batch.key}|${kind.accumulated}|${kind.update}`;
    let compiled = this.#compiled.get(key);
    if (!compiled) {
      compiled = this.#compileNew(batch, kind);
      this.#compiled.set(key, compiled);
    }
    return compiled;
  }

  async #compileNew(batch: MicroBatch, kind: StepKind): Promise<CompiledStep> {
    const { passes, onGraph } = this.#options;
    const optimize = passes ? { passes } : {};
    const { graph, updates } = buildStep(
      this.#model,
      this.buckets,
      batch.lossSum(),
      kind,
      this.#options,
      optimize,
    );
    if (!kind.update) await (this.#gradients ??= this.#prepareGradients());
    let optimized = graph;
    const afterPass = (_: string, graph: Graph): void => {
      optimized = graph;
    };
    const program = await compile(this.#engine, graph, { ...optimize, afterPass });
    onGraph?.(optimized);
    return { program, updates };
  }

  /** The vectors that hold gradients between micro-batches. */
  async #prepareGradients(): Promise<void> {
    for (const { names, length } of this.buckets) {
      const data = new Float32Array(length);
      await this.#engine.put(names.gradient, { dtype: "float32", shape: [length], data });
    }
  }
}

function scalar(value: number): HostTensor {
  return { dtype: "float32", shape: [], data: Float32Array.of(value) };
}

/** @file The training loop: epochs of batches, steps, evaluations, and which weights are kept. */
import { planBatches, type Batch } from "../data/batches.ts";
import { LowrankError } from "../errors.ts";
import type { Model } from "../models/family.ts";
import { learningRateAt } from "../optim/schedule.ts";
import type { Engine } from "../runtime/engine.ts";
import { isLowerBetter, type Example, type Metrics, type Task } from "../tasks/task.ts";
import type { Evaluator } from "./evaluate.ts";
import type { Listener, TrainResult } from "./events.ts";
import type { TrainOptions } from "./options.ts";
import { allFinite, restoreSnapshot, takeSnapshot, type Snapshot } from "./snapshot.ts";
import { Stepper, type MicroBatch } from "./stepper.ts";

export interface LoopContext {
  readonly engine: Engine;
  readonly model: Model;
  readonly task: Task;
  readonly stepper: Stepper;
  readonly evaluator: Evaluator;
  readonly options: TrainOptions;
  readonly maxLength: number;
  readonly padTokenId: number;
  readonly train: readonly Example[];
  /** Empty without validation data. */
  readonly validation: readonly Example[];
  readonly emit: Listener;
  readonly signal?: AbortSignal | undefined;
}

/** Weights that are worth keeping. */
export interface Kept {
  readonly step: number;
  /** Absent for those that the engine holds at the end. */
  readonly values?: Snapshot;
  readonly metrics?: Metrics;
}

/** Training diverged; the engine holds the weights of `kept`, or the untrained ones. */
export class DivergedError extends LowrankError {
  readonly kept: Kept | undefined;
  readonly progress: Progress;

  constructor(message: string, kept: Kept | undefined, progress: Progress) {
    super("training", message);
    this.kept = kept;
    this.progress = progress;
  }
}

/** What has been done. */
type Progress = Pick<
  TrainResult,
  "reason" | "steps" | "epochs" | "seconds" | "tokens" | "trainLoss"
>;

/** The batches of an epoch, the same for the same seed. */
export function epochBatches(
  examples: readonly Example[],
  { batchSize, seed }: TrainOptions,
  limits: { readonly maxLength: number; readonly lengthMultiple: number },
  epoch: number,
): Batch[] {
  const lengths = examples.map(({ inputIds }) => inputIds.length);
  return planBatches(lengths, { batchSize, shuffle: true, seed, epoch, ...limits });
}

/** Optimizer steps of a run, and of one epoch: a started step of the last epoch counts, as in transformers' Trainer. */
export function countSteps(
  examples: number,
  { batchSize, gradientAccumulation, epochs, steps }: TrainOptions,
): { perEpoch: number; total: number } {
  const perEpoch = Math.ceil(Math.ceil(examples / batchSize) / gradientAccumulation);
  return { perEpoch, total: steps ?? Math.ceil(epochs * perEpoch) };
}

/**
 * Train. Afterwards the engine holds the best weights by the validation data, or the last ones without.
 * Throws DivergedError when loss or gradient are no longer numbers.
 */
export async function runLoop(context: LoopContext): Promise<Omit<TrainResult, "output">> {
  return new Loop(context).run();
}

/** The state of one run. */
class Loop {
  readonly #context: LoopContext;
  readonly #perEpoch: number;
  readonly #total: number;
  readonly #started = performance.now();
  #evaluationMs = 0;
  #step = 0;
  #tokens = 0;
  /** Losses of the current epoch. */
  #losses: number[] = [];
  #best: Kept | undefined;
  #sinceBest = 0;

  constructor(context: LoopContext) {
    this.#context = context;
    const { perEpoch, total } = countSteps(context.train.length, context.options);
    this.#perEpoch = perEpoch;
    this.#total = total;
  }

  async run(): Promise<Omit<TrainResult, "output">> {
    const { engine, stepper } = this.#context;
    let reason: TrainResult["reason"];
    try {
      reason = await this.#epochs();
      if (!this.#best) this.#best = await this.#current();
    } catch (error) {
      if (this.#best?.values) await restoreSnapshot(engine, this.#best.values);
      else await stepper.reset();
      throw error;
    }
    const { step, metrics, values } = this.#best;
    if (values) await restoreSnapshot(engine, values);
    return { ...this.#progress(reason), keptStep: step, ...(metrics ? { metrics } : {}) };
  }

  #progress(reason: TrainResult["reason"]): Progress {
    return {
      reason,
      steps: this.#step,
      epochs: this.#epoch(),
      seconds: (performance.now() - this.#started) / 1000,
      tokens: this.#tokens,
      trainLoss: mean(this.#losses),
    };
  }

  async #epochs(): Promise<TrainResult["reason"]> {
    const { options, train, maxLength, engine } = this.#context;
    const limits = { maxLength, lengthMultiple: engine.lengthMultiple };
    for (let epoch = 0; ; epoch++) {
      const batches = epochBatches(train, options, limits, epoch);
      this.#losses = [];
      for (let first = 0; first < batches.length; first += options.gradientAccumulation) {
        await this.#makeStep(batches.slice(first, first + options.gradientAccumulation));
        const stop = await this.#afterStep();
        if (stop) return stop;
      }
    }
  }

  async #makeStep(batches: readonly Batch[]): Promise<void> {
    const { stepper, options, train, emit } = this.#context;
    const learningRate = learningRateAt(this.#step, {
      schedule: options.schedule,
      learningRate: options.learningRate,
      warmupSteps: options.warmupSteps ?? Math.ceil(options.warmupRatio * this.#total),
      totalSteps: this.#total,
    });
    const result = await stepper.step(
      batches.map((batch) => this.#microBatch(batch)),
      learningRate,
    );
    this.#step++;
    const { loss, gradNorm } = result;
    if (!Number.isFinite(loss)) throw this.#diverged(`the loss is ${loss}`);
    if (!Number.isFinite(gradNorm)) throw this.#diverged(`the gradient's norm is ${gradNorm}`);
    this.#losses.push(loss);
    const tokens = batches
      .flatMap(({ indices }) => indices)
      .reduce((sum, index) => sum + train[index]!.inputIds.length, 0);
    this.#tokens += tokens;
    const elapsedMs = performance.now() - this.#started;
    emit({
      type: "step",
      step: this.#step,
      totalSteps: this.#total,
      epoch: this.#epoch(),
      loss,
      gradNorm,
      learningRate,
      tokens,
      tokensPerSecond: (1000 * this.#tokens) / (elapsedMs - this.#evaluationMs),
      remainingSeconds: (elapsedMs / this.#step) * (this.#total - this.#step) * 1e-3,
    });
  }

  #microBatch({ indices, length }: Batch): MicroBatch {
    const { task, model, options, train, padTokenId, engine } = this.#context;
    const shape = { batch: options.batchSize, length };
    const examples = indices.map((index) => train[index]!);
    const feeds = task.collate(examples, shape, padTokenId);
    const graphShape = { ...shape, length: engine.graphLength(length) };
    return {
      key: String(graphShape.length),
      feeds,
      labels: task.countLabels(feeds),
      lossSum: () => task.build(model.train() as Model, graphShape).lossSum,
    };
  }

  /** Evaluate where it is time to, and decide whether to stop. */
  async #afterStep(): Promise<TrainResult["reason"] | undefined> {
    const { options, validation } = this.#context;
    const isLast = this.#step >= this.#total;
    if (!isLast && this.#isAborted()) return this.#stop("aborted");
    const every = options.evalEvery === "epoch" ? this.#perEpoch : options.evalEvery;
    if (isLast || this.#step % every === 0) {
      if (validation.length > 0) await this.#evaluate(isLast);
      else this.#best = await this.#current();
    }
    if (isLast) return "completed";
    const { earlyStopping = Infinity } = options;
    if (this.#sinceBest >= earlyStopping) return this.#stop("early-stopping");
    return this.#isAborted() ? this.#stop("aborted") : undefined;
  }

  /** A function, since the signal changes between two looks at it. */
  #isAborted(): boolean {
    return this.#context.signal?.aborted ?? false;
  }

  async #stop(reason: "aborted" | "early-stopping"): Promise<TrainResult["reason"]> {
    if (this.#context.validation.length === 0) this.#best = await this.#current();
    const message =
      reason === "aborted"
        ? `stopped by request after step ${this.#step} of ${this.#total}`
        : `no improvement in ${this.#sinceBest} evaluations since step ${this.#best?.step}`;
    this.#context.emit({ type: "stopping", step: this.#step, reason, message });
    return reason;
  }

  async #evaluate(isLast: boolean): Promise<void> {
    const { engine, stepper, evaluator, validation, emit, options, task } = this.#context;
    const started = performance.now();
    const step = this.#step;
    const metrics = await evaluator.evaluate(validation, (done, total) =>
      emit({ type: "evaluating", step, done, total }),
    );
    const { loss } = metrics.scalars;
    if (!Number.isFinite(loss)) throw this.#diverged(`the validation loss is ${loss}`);
    const name = options.bestMetric ?? task.bestMetric;
    const isBest = isBetter(metrics, this.#best?.metrics, name, isLowerBetter(task, name));
    if (isBest) {
      const values = isLast ? {} : { values: await takeSnapshot(engine, stepper.buckets) };
      this.#best = { step, metrics, ...values };
    }
    this.#sinceBest = isBest ? 0 : this.#sinceBest + 1;
    const elapsedMs = performance.now() - started;
    this.#evaluationMs += elapsedMs;
    const seconds = elapsedMs / 1000;
    emit({ type: "evaluated", step, epoch: this.#epoch(), metrics, isBest, seconds });
  }

  /** The weights as they are now. */
  async #current(): Promise<Kept> {
    const { engine, stepper } = this.#context;
    const values = await takeSnapshot(engine, stepper.buckets);
    if (!allFinite(values)) throw this.#diverged("weights are no longer numbers");
    return { step: this.#step, values };
  }

  #epoch(): number {
    return this.#step / this.#perEpoch;
  }

  #diverged(what: string): DivergedError {
    const { learningRate } = this.#context.options;
    const kept = this.#best;
    const outcome = kept
      ? `What was trained until step ${kept.step} is kept.`
      : "Nothing earlier was evaluated, so nothing is kept.";
    return new DivergedError(
      `step ${this.#step}: expected finite numbers, but ${what}. ${outcome} ` +
        `Choose a learning rate below ${learningRate}, or more warm-up.`,
      kept,
      this.#progress("diverged"),
    );
  }
}

/** Whether metrics are better by a scalar, a higher or a lower one; equal ones by the loss. Throws
 * LowrankError("usage"). */
export function isBetter(
  metrics: Metrics,
  best: Metrics | undefined,
  name: string,
  isLower = name === "loss",
): boolean {
  const value = metrics.scalars[name];
  if (value === undefined) {
    throw new LowrankError(
      "usage",
      `bestMetric: there is no metric ${JSON.stringify(name)}. Metrics: ${Object.keys(metrics.scalars).join(", ")}.`,
    );
  }
  if (!best) return true;
  const difference = value - best.scalars[name]!;
  if (difference !== 0) return isLower ? difference < 0 : difference > 0;
  return metrics.scalars["loss"]! < best.scalars["loss"]!;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

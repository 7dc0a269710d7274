/** @file The training loop: epochs of batches, steps, evaluations, and which weights are kept. */
import type { Batch } from "../data/batches.ts";
import { LowrankError } from "../errors.ts";
import type { Model } from "../models/family.ts";
import { learningRateAt } from "../optim/schedule.ts";
import type { Engine } from "../runtime/engine.ts";
import { isLowerBetter, type Example, type Metrics, type Task } from "../tasks/task.ts";
import { isBetter } from "./better.ts";
import { countSteps, epochBatches } from "./epochs.ts";
import type { Evaluator } from "./evaluate.ts";
import type { Listener, TrainResult } from "./events.ts";
import type { TrainOptions } from "./options.ts";
import { allFinite, restoreSnapshot, takeSnapshot, type Snapshot } from "./step/snapshot.ts";
import { Stepper, type MicroBatch } from "./step/stepper.ts";
import type { LoopState } from "./training-state.ts";

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
  /** Go on from here; the stepper holds the weights. */
  readonly from?: Pick<LoopPoint, "state" | "best"> | undefined;
  /** Called with what is needed to go on, every `saveEvery` steps. */
  readonly onCheckpoint?: ((point: LoopPoint) => Promise<void>) | undefined;
  /** The same when training was aborted. */
  readonly onAborted?: ((point: LoopPoint) => Promise<void>) | undefined;
}

/** Where a run is between two steps. */
export interface LoopPoint {
  readonly state: LoopState;
  /** The weights of `state.best`; absent where they are the current ones. */
  readonly best?: Snapshot | undefined;
  /** What it came to, if it were aborted now. */
  readonly result: Omit<TrainResult, "output">;
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
  /** When the run would have begun, had it not been interrupted. */
  readonly #started: number;
  #evaluationMs: number;
  #step: number;
  /** The last step after which the validation data was evaluated. */
  #evaluatedStep: number;
  #tokens: number;
  /** Losses of the current epoch. */
  #losses: number[];
  #best: Kept | undefined;
  #sinceBest: number;

  constructor(context: LoopContext) {
    this.#context = context;
    const { perEpoch, total } = countSteps(context.train.length, context.options);
    this.#perEpoch = perEpoch;
    this.#total = total;
    const state = context.from?.state;
    this.#started = performance.now() - 1000 * (state?.seconds ?? 0);
    this.#evaluationMs = 1000 * (state?.evaluationSeconds ?? 0);
    this.#step = state?.step ?? 0;
    this.#evaluatedStep = state?.evaluatedStep ?? 0;
    this.#tokens = state?.tokens ?? 0;
    this.#losses = [...(state?.losses ?? [])];
    this.#sinceBest = state?.sinceBest ?? 0;
  }

  async run(): Promise<Omit<TrainResult, "output">> {
    const { engine, stepper, from } = this.#context;
    let reason: TrainResult["reason"];
    try {
      if (from?.state.best) {
        const { step, metrics } = from.state.best;
        const values = from.best ?? (await takeSnapshot(engine, stepper.buckets));
        this.#best = { step, values, ...(metrics ? { metrics } : {}) };
      }
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
    const { gradientAccumulation } = options;
    // An interrupted run may have left before the evaluation that was due.
    let stop = this.#step === 0 ? undefined : await this.#evaluateIfDue();
    while (!stop) {
      const epoch = Math.floor(this.#step / this.#perEpoch);
      const done = this.#step % this.#perEpoch;
      if (done === 0) this.#losses = [];
      const batches = epochBatches(train, options, limits, epoch);
      const start = done * gradientAccumulation;
      for (let first = start; !stop && first < batches.length; first += gradientAccumulation) {
        await this.#makeStep(batches.slice(first, first + gradientAccumulation));
        stop = await this.#afterStep();
      }
    }
    return stop;
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

  /** Evaluate and save where it is time to, and decide whether to stop. */
  async #afterStep(): Promise<TrainResult["reason"] | undefined> {
    const isLast = this.#step >= this.#total;
    if (!isLast && this.#isAborted()) return this.#stop("aborted");
    const stop = await this.#evaluateIfDue();
    if (stop) return stop;
    const { onCheckpoint, options } = this.#context;
    if (onCheckpoint && options.saveEvery && this.#isDue(options.saveEvery)) {
      await onCheckpoint(this.#point());
    }
    return this.#isAborted() ? this.#stop("aborted") : undefined;
  }

  async #evaluateIfDue(): Promise<TrainResult["reason"] | undefined> {
    const { options, validation } = this.#context;
    const isLast = this.#step >= this.#total;
    if ((isLast || this.#isDue(options.evalEvery)) && this.#evaluatedStep !== this.#step) {
      if (validation.length > 0) await this.#evaluate(isLast);
      else this.#best = await this.#current();
      this.#evaluatedStep = this.#step;
    }
    if (isLast) return "completed";
    const { earlyStopping = Infinity } = options;
    return this.#sinceBest >= earlyStopping ? this.#stop("early-stopping") : undefined;
  }

  #isDue(every: "epoch" | number): boolean {
    return this.#step % (every === "epoch" ? this.#perEpoch : every) === 0;
  }

  /** What is needed to go on from here. */
  #point(): LoopPoint {
    const best = this.#best;
    const metrics = best?.metrics;
    const state: LoopState = {
      step: this.#step,
      microBatches: this.#context.stepper.microBatchCount,
      evaluatedStep: this.#evaluatedStep,
      tokens: this.#tokens,
      losses: this.#losses,
      ...(best
        ? { best: { step: best.step, ...(metrics ? { metrics: { ...metrics } } : {}) } }
        : {}),
      sinceBest: this.#sinceBest,
      seconds: (performance.now() - this.#started) / 1000,
      evaluationSeconds: this.#evaluationMs / 1000,
    };
    return {
      state,
      best: best && best.step !== this.#step ? best.values : undefined,
      result: {
        ...this.#progress("aborted"),
        keptStep: best?.step ?? this.#step,
        ...(metrics ? { metrics } : {}),
      },
    };
  }

  /** A function, since the signal changes between two looks at it. */
  #isAborted(): boolean {
    return this.#context.signal?.aborted ?? false;
  }

  async #stop(reason: "aborted" | "early-stopping"): Promise<TrainResult["reason"]> {
    if (this.#context.validation.length === 0) this.#best = await this.#current();
    if (reason === "aborted") await this.#context.onAborted?.(this.#point());
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

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

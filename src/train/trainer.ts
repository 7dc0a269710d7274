/** @file Trainer: fine-tunes a model on a task's data and writes what was trained. */
import { paddingShare } from "../data/batches.ts";
import { LowrankError, requireOptions, requirePath } from "../errors.ts";
import { buildOutputDirectory, createOutputDirectory, type OutputDirectory } from "../io/files.ts";
import { countParameters } from "../nn/module.ts";
import type { Engine } from "../runtime/engine.ts";
import { asInputs } from "../tasks/inputs.ts";
import type { ClassificationPrediction } from "../tasks/sequence-classification.ts";
import type { Input, Metrics, Task } from "../tasks/task.ts";
import { join } from "node:path";
import { contentsOf, copyLog, writeCheckpoint, writePoint, type Run } from "./checkpoint.ts";
import { toTable, type DataSource } from "./data.ts";
import { countSteps, epochBatches } from "./epochs.ts";
import { EVALUATION_BATCH, Evaluator } from "./evaluate.ts";
import type { Listener, StartedEvent, TrainingEvent, TrainResult } from "./events.ts";
import { jsonLines, METRICS_FILE } from "./listeners/jsonl.ts";
import { DivergedError, runLoop } from "./loop.ts";
import { writeOutputDirectory, type OutputContents } from "./output.ts";
import { prepare, startEngine, type Hooks, type Prepared, type TrainerOptions } from "./prepare.ts";
import { checkSame, resumedOptions, type ResumeOptions } from "./resume.ts";
import type { Stepper } from "./step/stepper.ts";
import { readTrainingState, type TrainingState } from "./training-state.ts";

export type { DataRows, DataSource } from "./data.ts";
export type { Hooks, TrainerOptions } from "./prepare.ts";
export type { ResumeOptions } from "./resume.ts";

/**
 * Trains an adapter:
 *
 *     const trainer = await Trainer.create({ model: "path/to/model", data: "reviews.csv", output: "out" });
 *     const result = await trainer.train();
 *     console.log(await trainer.predict(["great!"]));
 *     await trainer.close();
 */
export class Trainer {
  readonly task: Task;
  readonly #prepared: Prepared;
  readonly #engine: Engine;
  readonly #stepper: Stepper;
  readonly #evaluator: Evaluator;
  /** Under construction until training ends. */
  #output: OutputDirectory | undefined;
  /** What an interrupted run left, to go on from. */
  readonly #from: TrainingState | undefined;
  readonly #listeners = new Set<Listener>();
  #result: Omit<TrainResult, "output"> | undefined;
  #started = false;

  private constructor(
    prepared: Prepared,
    engine: { readonly engine: Engine; readonly stepper: Stepper },
    output: OutputDirectory | undefined,
    from: TrainingState | undefined,
  ) {
    this.#from = from;
    this.task = prepared.task;
    this.#prepared = prepared;
    this.#engine = engine.engine;
    this.#stepper = engine.stepper;
    this.#output = output;
    const { base, options, task } = prepared;
    this.#evaluator = new Evaluator({
      engine: this.#engine,
      model: base.model,
      task,
      batchSize: Math.max(options.batchSize, EVALUATION_BATCH),
      maxLength: base.encoder.maxLength,
      padTokenId: base.padTokenId,
    });
  }

  /** Check the options and load data, tokenizer and model. Throws LowrankError before anything is
   * trained or written: also when `output` exists. `hooks.onGraph` gets the graph of every step that is
   * compiled. */
  static async create(options: TrainerOptions, hooks: Hooks = {}): Promise<Trainer> {
    requireOptions("Trainer.create", options);
    return Trainer.#open(options, hooks);
  }

  /**
   * Go on with a run that was aborted, or that broke off with `saveEvery`, from its output directory: the same steps follow
   * as if it had not been interrupted, to the last bit on the same machine, and the directory is replaced at the end. Rows
   * in memory have to be given again. Throws LowrankError where there is nothing to go on from, or other data.
   */
  static async resume(
    directory: string,
    changes: ResumeOptions = {},
    hooks: Hooks = {},
  ): Promise<Trainer> {
    requirePath("directory", directory);
    requireOptions("Trainer.resume", changes);
    const from = await readTrainingState(directory);
    return Trainer.#open(await resumedOptions(directory, from, changes), hooks, from);
  }

  static async #open(
    options: TrainerOptions,
    hooks: Hooks,
    from?: TrainingState,
  ): Promise<Trainer> {
    const { output: directory, overwrite = false } = options;
    const output =
      directory === undefined
        ? undefined
        : await createOutputDirectory(directory, { overwrite, inputs: inputsOf(options) });
    try {
      const prepared = await prepare(options, output);
      if (from) {
        checkSame(directory!, from, prepared);
        await copyLog(directory!, output!.path);
      }
      return new Trainer(prepared, await startEngine(prepared, { ...hooks, from }), output, from);
    } catch (error) {
      await output?.discard();
      throw error;
    }
  }

  /** Call a listener with every event of `train`; returns how to stop that. */
  on(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Train, keep the best adapter, and write it to `output`. An aborted signal ends training after the
   * current step: what there is is saved, and the result's reason is "aborted". Throws
   * LowrankError("training") when the loss is no longer a number: the message says what was kept.
   */
  async train({ signal }: { signal?: AbortSignal } = {}): Promise<TrainResult> {
    if (this.#started) {
      throw new LowrankError("usage", "train: a trainer trains once. Create another Trainer.");
    }
    this.#started = true;
    const removeLog = this.#output
      ? this.on(jsonLines(join(this.#output.path, METRICS_FILE)))
      : undefined;
    try {
      this.#emit(this.#startedEvent());
      for (const message of this.#prepared.warnings) this.#emit({ type: "warning", message });
      this.#result = await this.#loop(signal);
      const output = await this.#finishOutput(this.#result.keptStep, removeLog);
      const result = { ...this.#result, ...(output === undefined ? {} : { output }) };
      this.#emit({ type: "finished", result });
      return result;
    } catch (error) {
      const failure = await this.#keepAfter(error, removeLog);
      this.#emit({ type: "failed", step: this.#stepper.stepCount, message: failure.message });
      throw failure;
    } finally {
      removeLog?.();
      await this.#discardOutput();
    }
  }

  /** Metrics of the current weights on labelled data; default: the validation data. */
  async evaluate(data?: DataSource): Promise<Metrics> {
    const { base, options, validation } = this.#prepared;
    if (data === undefined) {
      if (validation.length > 0) return this.#evaluator.evaluate(validation);
      throw new LowrankError(
        "usage",
        "evaluate: there is no validation data. Pass data to evaluate.",
      );
    }
    const table = await toTable(data);
    const { examples } = this.task.readExamples(table, base.encoder, options);
    return this.#evaluator.evaluate(examples);
  }

  /** What the current weights predict for inputs (see Predictor.predict). */
  async predict<P = ClassificationPrediction>(inputs: readonly (string | Input)[]): Promise<P[]> {
    const rows = asInputs(inputs, this.task.fields);
    const { examples } = this.task.inputExamples(rows, this.#prepared.base.encoder);
    return (await this.#evaluator.predict(rows, examples)) as P[];
  }

  /** Write what is trained so far to a directory. */
  async save(directory: string, options: { overwrite?: boolean } = {}): Promise<void> {
    const inputs = inputsOf(this.#prepared.options);
    await buildOutputDirectory(directory, { ...options, inputs }, ({ path, target }) =>
      writeOutputDirectory(path, target, this.#contents()),
    );
  }

  /** Stop the engine; nothing else can be called afterwards. */
  async close(): Promise<void> {
    await this.#discardOutput();
    await this.#engine.close();
  }

  async #loop(signal: AbortSignal | undefined): Promise<Omit<TrainResult, "output">> {
    const { base, task, options, train, validation } = this.#prepared;
    const [from, output] = [this.#from, this.#output];
    return runLoop({
      engine: this.#engine,
      model: base.model,
      task,
      stepper: this.#stepper,
      evaluator: this.#evaluator,
      options,
      maxLength: base.encoder.maxLength,
      padTokenId: base.padTokenId,
      train,
      validation,
      emit: (event) => this.#emit(event),
      signal,
      from: from && { state: from.loop, best: await from.readBest(this.#stepper.buckets) },
      ...(output && {
        onAborted: (point) =>
          this.#orWarn("so it cannot go on later", () => writePoint(output.path, point, this.#run)),
        onCheckpoint: (point) =>
          this.#orWarn("which goes on", async () => {
            await writeCheckpoint(output, point, this.#run);
            this.#emit({ type: "saved", directory: output.target, step: point.result.keptStep });
          }),
      }),
    });
  }

  /** A run is worth more than what it saves on the way. */
  async #orWarn(outcome: string, save: () => Promise<void>): Promise<void> {
    try {
      await save();
    } catch (error) {
      if (!(error instanceof LowrankError)) throw error;
      const message = `the state of the run could not be saved, ${outcome}: ${error.message}`;
      this.#emit({ type: "warning", message });
    }
  }

  /** Write the output directory and put it into place; returns where it is. */
  async #finishOutput(step: number, removeLog?: () => void): Promise<string | undefined> {
    const output = this.#output;
    if (!output) return undefined;
    await writeOutputDirectory(output.path, output.target, this.#contents());
    removeLog?.();
    await output.commit();
    this.#output = undefined;
    this.#emit({ type: "saved", directory: output.target, step });
    return output.target;
  }

  /** After a divergence, save what was kept. Returns the error to raise. */
  async #keepAfter(error: unknown, removeLog?: () => void): Promise<Error> {
    if (!(error instanceof DivergedError) || !error.kept) return error as Error;
    const { step, metrics } = error.kept;
    this.#result = { ...error.progress, keptStep: step, ...(metrics ? { metrics } : {}) };
    try {
      const directory = await this.#finishOutput(step, removeLog);
      if (directory === undefined) return error;
      return new LowrankError("training", `${error.message} It is saved in ${directory}.`, {
        cause: error,
      });
    } catch (cause) {
      const why = (cause as Error).message;
      return new LowrankError("training", `${error.message} It could not be saved: ${why}`, {
        cause,
      });
    }
  }

  async #discardOutput(): Promise<void> {
    await this.#output?.discard();
    this.#output = undefined;
  }

  #contents(): OutputContents {
    return contentsOf(this.#run, this.#result);
  }

  get #run(): Run {
    return { prepared: this.#prepared, engine: this.#engine, stepper: this.#stepper };
  }

  #startedEvent(): StartedEvent {
    const { base, method, memory, task, options, train, validation, truncated } = this.#prepared;
    const { perEpoch, total } = countSteps(train.length, options);
    const { maxLength } = base.encoder;
    return {
      type: "started",
      model: options.model,
      modelType: base.family.modelType,
      task: task.name,
      parameters: countParameters(base.model),
      trainableParameters: countParameters(base.model, { trainable: true }),
      method: options.method,
      saves: method.saves,
      storedBytes: method.storedBytes,
      memoryBytes: memory.total,
      trainExamples: train.length,
      validationExamples: validation.length,
      taskDetails: task.details,
      device: this.#engine.device,
      stepsBefore: this.#from?.loop.step ?? 0,
      totalSteps: total,
      epochs: total / perEpoch,
      maxLength,
      truncated,
      paddingShare: paddingShare(
        epochBatches(train, options, { maxLength, lengthMultiple: this.#engine.lengthMultiple }, 0),
        train.map(({ inputIds }) => inputIds.length),
      ),
    };
  }

  #emit(event: TrainingEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

/** The files and directories that a run reads. */
function inputsOf({
  model,
  adapter,
  data,
  validationData,
}: Pick<TrainerOptions, "model" | "adapter" | "data" | "validationData">): string[] {
  return [model, adapter, data, validationData].filter((input) => typeof input === "string");
}

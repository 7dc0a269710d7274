/** @file Predictor: what was trained, for predictions and evaluations. */
import { LowrankError } from "../errors.ts";
import { z } from "zod";
import { listIssues } from "../format.ts";
import { DEVICE_CHOICES, type DeviceChoice } from "../runtime/protocol.ts";
import { findTask, ofOtherTasks } from "../tasks/registry.ts";
import { asInputs } from "../tasks/inputs.ts";
import { useSettings, type Columns, type UseSettings } from "../tasks/options.ts";
import type { ClassificationPrediction } from "../tasks/sequence-classification.ts";
import type { Examples, Input, Metrics, Task } from "../tasks/task.ts";
import { loadBase, type Base } from "./base.ts";
import { toTable, type DataSource } from "./data.ts";
import { EVALUATION_BATCH, Evaluator, type Progress } from "./evaluate.ts";
import type { Manifest } from "./manifest.ts";
import { openSaved } from "./saved.ts";
import { SharedEngine, type EngineShare } from "./shared-engine.ts";

export interface PredictorOptions extends Partial<UseSettings> {
  /** Directory of the base model, where it is not the one that the adapter names. */
  readonly model?: string | undefined;
  /** Texts computed together. Default 16. */
  readonly batchSize?: number | undefined;
  /** Default: that of training. */
  readonly maxLength?: number | undefined;
  readonly device?: DeviceChoice | undefined;
  /** 0: one per core. */
  readonly threads?: number | undefined;
  /** A predictor whose engine this one uses too, with its device and threads: the weights of a base model that both have are
   * in memory once. Each is closed by itself. */
  readonly shareWith?: Predictor<any> | undefined;
}

/** What the user should know of the data of a call. */
export interface DataNotes {
  /** Texts cut to the maximum length. */
  readonly truncated: number;
  readonly warnings: readonly string[];
}

/**
 * Predicts with a saved adapter:
 *
 *     const classifier = await Predictor.load("out");
 *     console.log(await classifier.predict(["great!"])); // [{ label, score, scores }]
 *     await classifier.close();
 *
 * P is what the adapter's task predicts for an input, e.g. ClassificationPrediction; nothing checks it.
 */
export class Predictor<P = ClassificationPrediction> {
  readonly task: Task;
  /** The base model's directory that was found. */
  readonly baseModel: string;
  /** What lowrank.json says of the training; absent for adapters from elsewhere. */
  readonly manifest: Manifest | undefined;
  /** Texts cut to the maximum length by the call that began last; each call's own: `onNotes`. */
  truncated = 0;
  /** What the user should know: of the adapter, and of the data of the call that began last. */
  warnings: readonly string[];
  readonly #adapterWarnings: readonly string[];
  readonly #shared: SharedEngine;
  readonly #share: EngineShare;
  readonly #base: Base;
  readonly #evaluator: Evaluator;

  private constructor(
    shared: SharedEngine,
    share: EngineShare,
    base: Base,
    task: Task,
    manifest: Manifest | undefined,
    warnings: readonly string[],
    batchSize: number,
  ) {
    this.task = task;
    this.baseModel = base.directory;
    this.manifest = manifest;
    this.warnings = warnings;
    this.#adapterWarnings = warnings;
    this.#shared = shared;
    this.#share = share;
    this.#base = base;
    this.#evaluator = new Evaluator({
      engine: share.engine,
      names: share.names,
      model: base.model,
      task,
      batchSize,
      maxLength: base.encoder.maxLength,
      padTokenId: base.padTokenId,
    });
  }

  /** Load what was trained: an adapter directory, of this library or of PEFT, the stored change of a model, or a whole model.
   * Throws LowrankError: "usage" for options that are none, listing all; when the base model is not found, the message lists
   * where it was looked for. */
  static async load<P = ClassificationPrediction>(
    directory: string,
    options: PredictorOptions = {},
  ): Promise<Predictor<P>> {
    checkOptions(options);
    const saved = await openSaved(directory, options.model);
    const task = withSettings(await saved.task(), options);
    const base = await loadBase({
      directory: saved.baseModel,
      tokenizerDirectory: directory,
      task,
      maxLength: options.maxLength ?? saved.manifest?.maxLength,
      // What was trained brings its own.
      newHead: true,
    });
    const applied = await saved.apply(base);
    const warnings = [...saved.warnings, ...applied.warnings];

    const { device = "cpu", threads = 0, batchSize = EVALUATION_BATCH, shareWith } = options;
    const shared = shareWith ? shareWith.#shared : await SharedEngine.start({ device, threads });
    const share = await shared.add(base.model, applied.kept);
    return new Predictor(shared, share, base, task, saved.manifest, warnings, batchSize);
  }

  /** One prediction an input: its fields by name (`task.fields`), or the first field's text alone.
   * `progress` is called after each batch, `onNotes` once before the first. Throws LowrankError("data") for an input that lacks a
   * field. */
  async predict(
    inputs: readonly (string | Input)[],
    progress?: Progress,
    onNotes?: (notes: DataNotes) => void,
  ): Promise<P[]> {
    const rows = asInputs(inputs, this.task.fields);
    const examples = this.#note(this.task.inputExamples(rows, this.#base.encoder), onNotes);
    return (await this.#evaluator.predict(rows, examples, progress)) as P[];
  }

  /** The inputs in a data file, for `predict`; labels are not needed. Throws LowrankError("data"). */
  async readInputs(data: DataSource, columns?: Columns): Promise<Input[]> {
    requireOwn(this.task, columns);
    return this.task.readInputs(await toTable(data), columns);
  }

  /** Metrics on labelled data; `progress` is called after each batch, `onNotes` once before the first. Throws LowrankError("data"),
   * also for a label unseen in training. */
  async evaluate(
    data: DataSource,
    columns?: Columns,
    progress?: Progress,
    onNotes?: (notes: DataNotes) => void,
  ): Promise<Metrics> {
    requireOwn(this.task, columns);
    const table = await toTable(data);
    const read = this.task.readExamples(table, this.#base.encoder, columns);
    const examples = this.#note(read, onNotes);
    return this.#evaluator.evaluate(examples, progress);
  }

  /** Nothing else can be called afterwards. */
  async close(): Promise<void> {
    await this.#evaluator.release();
    await this.#share.release();
  }

  #note(
    { examples, truncated, warnings = [] }: Examples,
    onNotes?: (notes: DataNotes) => void,
  ): Examples["examples"] {
    onNotes?.({ truncated, warnings });
    this.truncated = truncated;
    this.warnings = [...this.#adapterWarnings, ...warnings];
    return examples;
  }
}

const count = z.number().int().positive();
const optionsSchema = z.strictObject({
  ...useSettings,
  model: z.string().min(1).optional(),
  batchSize: count.optional(),
  maxLength: count.optional(),
  device: z.enum(DEVICE_CHOICES).optional(),
  threads: z.number().int().min(0).optional(),
  shareWith: z.custom((value) => value instanceof Predictor, "expected a Predictor").optional(),
});

/** Throws LowrankError("usage") that lists every problem. */
function checkOptions(options: PredictorOptions): void {
  const parsed = optionsSchema.safeParse(options);
  if (parsed.success) return;
  throw new LowrankError("usage", `Predictor.load: ${listIssues(parsed.error)}.`);
}

/** Throws LowrankError("usage") for columns of other tasks. */
function requireOwn(task: Task, columns: Columns = {}): void {
  const given = (Object.keys(columns) as (keyof Columns)[]).filter((name) => columns[name]);
  const problems = ofOtherTasks(task.name, given);
  if (problems.length > 0) throw new LowrankError("usage", `${problems.join("; ")}.`);
}

/** The task with the settings that are given for its use. Throws LowrankError("usage") for others than it has. */
function withSettings(task: Task, options: PredictorOptions): Task {
  const names = Object.keys(useSettings) as (keyof UseSettings)[];
  const given = names.filter((name) => options[name] !== undefined);
  if (given.length === 0) return task;
  const { settings = [] } = task;
  const unknown = given.filter((name) => !settings.includes(name));
  if (unknown.length > 0) {
    const known = settings.length > 0 ? settings.join(", ") : "none";
    throw new LowrankError(
      "usage",
      `${unknown.join(", ")}: the adapter's task, ${task.name}, has no such setting as it was trained (it has: ${known}). Leave it out.`,
    );
  }
  const values = Object.fromEntries(given.map((name) => [name, options[name]]));
  return findTask(task.name).restore({ ...task.state, ...values }, given.join(", "));
}

/** @file Trainer: fine-tunes a base model on a task's data and writes an adapter directory. */
import type { Listener, TrainResult } from "./events.ts";
import type { TrainOptionsInput } from "./options.ts";
import type { Metrics, Prediction, Task } from "../tasks/task.ts";

/** Rows in memory in the place of a data file. */
export type DataRows = readonly Readonly<Record<string, unknown>>[];
/** A data file's path, or rows. */
export type DataSource = string | DataRows;

/** The options of a run; data may be rows in memory. */
export type TrainerOptions = Omit<TrainOptionsInput, "data" | "validationData"> & {
  readonly data: DataSource;
  readonly validationData?: DataSource;
};

/**
 * Trains an adapter:
 *
 *     const trainer = await Trainer.create({ model: "path/to/model", data: "reviews.csv", output: "out" });
 *     const result = await trainer.train();
 *     console.log(await trainer.predict(["great!"]));
 *     await trainer.close();
 */
export declare class Trainer {
  readonly task: Task;

  /** Check the options and load data, tokenizer and model. Throws LowrankError before anything is
   * trained or written: also when `output` exists. */
  static create(options: TrainerOptions): Promise<Trainer>;

  /** Call a listener with every event of `train`; returns how to stop that. */
  on(listener: Listener): () => void;

  /**
   * Train, keep the best adapter, and write it to `output`. An aborted signal ends training after the
   * current step: what there is is saved, and the result's reason is "aborted". Throws
   * LowrankError("training") when the loss is no longer a number: the message says what was kept.
   */
  train(options?: { signal?: AbortSignal }): Promise<TrainResult>;

  /** Metrics of the current adapter on labelled data; default: the validation data. */
  evaluate(data?: DataSource): Promise<Metrics>;

  /** What the current adapter predicts for texts. */
  predict(texts: readonly string[]): Promise<Prediction[]>;

  /** Write the current adapter to a directory. */
  save(directory: string, options?: { overwrite?: boolean }): Promise<void>;

  /** Stop the engine; nothing else can be called afterwards. */
  close(): Promise<void>;
}

/** @file Predictor: a saved adapter on its base model, for predictions and evaluations. */
import type { Columns, Metrics, Prediction, Task } from "../tasks/task.ts";
import type { DataSource } from "./trainer.ts";

export interface PredictorOptions {
  /** Directory of the base model, where it is not the one that the adapter names. */
  readonly model?: string;
  /** Texts computed together. Default 8. */
  readonly batchSize?: number;
  /** Default: that of training. */
  readonly maxLength?: number;
  readonly device?: "cpu" | "webgpu" | "cuda";
  /** 0: one per core. */
  readonly threads?: number;
}

/**
 * Predicts with a saved adapter:
 *
 *     const classifier = await Predictor.load("out");
 *     console.log(await classifier.predict(["great!"])); // [{ label, score, scores }]
 *     await classifier.close();
 */
export declare class Predictor {
  readonly task: Task;
  /** The base model's directory that was found. */
  readonly baseModel: string;

  /** Load an adapter directory, of this library or of PEFT. Throws LowrankError; when the base model is
   * not found, the message lists where it was looked for. */
  static load(directory: string, options?: PredictorOptions): Promise<Predictor>;

  predict(texts: readonly string[]): Promise<Prediction[]>;

  /** The texts of a data file, for `predict`; labels are not needed. */
  readTexts(data: DataSource, columns?: Columns): Promise<string[]>;

  /** Metrics on labelled data. */
  evaluate(data: DataSource, columns?: Columns): Promise<Metrics>;

  /** Texts cut to the maximum length by the last call. */
  readonly truncated: number;

  close(): Promise<void>;
}

/** @file What a task is: columns, examples, batches, head, loss, metrics, predictions. The trainer, the
 * command line and servers use tasks through these types and know none by name. */
import type { Table } from "../data/table.ts";
import type { Tensor } from "../graph/node.ts";
import type { InputShape } from "../models/inputs.ts";
import type { Model, TaskType } from "../models/family.ts";
import type { HostTensor } from "../runtime/protocol.ts";

/** A tokenised example. T tokens. */
export interface Example {
  /** [T], special tokens included. */
  readonly inputIds: Int32Array;
}

/** Turns texts into token ids that fit the model. */
export interface Encoder {
  /** Longest sequence, in tokens. */
  readonly maxLength: number;
  /** Token ids of each text, at least one, at most maxLength; how many texts were cut. */
  encode(texts: readonly string[]): { ids: Int32Array[]; truncated: number };
}

/** Names of columns that the user gave; others are found by their usual names. */
export interface Columns {
  readonly textColumn?: string | undefined;
  readonly labelColumn?: string | undefined;
}

/** Examples and how many of their texts were cut to the encoder's length. */
export interface Examples<E extends Example = Example> {
  readonly examples: E[];
  readonly truncated: number;
}

/** Values of a batch's graph inputs by name. */
export type Feeds = Readonly<Record<string, HostTensor>>;

/** The symbolic results of a batch. */
export interface TaskGraph {
  /** E.g. [B, labels]. */
  readonly logits: Tensor;
  /** Sum of the losses over the batch's labels: a scalar. */
  readonly lossSum: Tensor;
}

/** What an evaluation measured. */
export interface Metrics {
  /** Numbers by name, e.g. loss, accuracy, macroF1. */
  readonly scalars: Readonly<Record<string, number>>;
  /** The task's own, as plain JSON, e.g. { labels, perLabel, confusionMatrix }. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** Collects what metrics need, batch by batch. */
export interface MetricsAccumulator<E extends Example = Example> {
  /** @param logits of the examples alone, rows that fill up a batch left out */
  add(logits: Float32Array, examples: readonly E[]): void;
  /** The task's scalars without the loss, and its details. */
  result(): Metrics;
}

/** A part of metrics or data as rows, for terminals and model cards. */
export interface MetricTable {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

/** A classification of one text. */
export interface Prediction {
  readonly label: string;
  /** Probability of that label. */
  readonly score: number;
  /** Probability of every label, in the order of the label ids. */
  readonly scores: Readonly<Record<string, number>>;
}

/** A task on a given label set. E its examples, P what it predicts for a text. */
export interface Task<E extends Example = Example, P = Prediction> {
  readonly type: TaskType;
  /** As the user names it, e.g. "sequence-classification". */
  readonly name: string;
  /** Its name in the YAML of a model card. */
  readonly pipelineTag: string;
  /** Keys of the model's configuration that the task decides: id2label, num_labels, problem_type. */
  readonly modelConfig: Readonly<Record<string, unknown>>;
  /** Plain JSON from which `TaskKind.restore` makes the same task. */
  readonly state: Readonly<Record<string, unknown>>;
  /** What to show of the task when training starts, as plain JSON. */
  readonly details: Readonly<Record<string, unknown>>;
  /** The scalar by which the best adapter is chosen unless the user names another. */
  readonly bestMetric: string;

  /** Labelled examples of a table. Throws LowrankError("data") that names file and line. */
  readExamples(table: Table, encoder: Encoder, columns?: Columns): Examples<E>;
  /** The texts of a table, labels not needed. Throws LowrankError("data"). */
  readTexts(table: Table, columns?: Columns): string[];
  /** Examples without labels. */
  textExamples(texts: readonly string[], encoder: Encoder): Examples<E>;
  /** Graph inputs of a batch; rows beyond the examples are filled up and count nothing. */
  collate(examples: readonly E[], shape: InputShape, padTokenId: number): Feeds;
  /** The model's logits and loss on a batch of this shape; dropout as the model's mode says. */
  build(model: Model, shape: InputShape): TaskGraph;
  /** Number of labels that a batch's lossSum is the sum over (their weights, with class weights). */
  countLabels(feeds: Feeds): number;
  metrics(): MetricsAccumulator<E>;
  /** @param logits of `count` rows */
  predictions(logits: Float32Array, count: number): P[];
  /** The details of metrics as tables. */
  tables(metrics: Metrics): MetricTable[];
}

/** What the user decides about a task beside the data. */
export interface TaskOptions extends Columns {
  /** Weights of the classes in the loss. */
  readonly classWeights?: ClassWeights;
}

export const CLASS_WEIGHTS = ["none", "balanced"] as const;
export type ClassWeights = (typeof CLASS_WEIGHTS)[number];

/** How a task comes about. One object per task, listed in registry.ts. */
export interface TaskKind {
  readonly type: TaskType;
  readonly name: string;
  /** Other names that users know it by. */
  readonly aliases: readonly string[];
  /** A class of each row, in whose proportions a held-out part is split off. */
  strata(table: Table, columns: Columns): number[];
  /** The task that training data defines. Throws LowrankError("data"). */
  create(table: Table, options: TaskOptions): Task<any>;
  /** The task of a saved adapter. Throws LowrankError("config"). */
  restore(state: unknown, where: string): Task<any>;
  /** The task of an adapter from elsewhere, by its base's config.json and its head's rows. */
  fromConfig(config: Readonly<Record<string, unknown>>, headRows: number): Task<any>;
}

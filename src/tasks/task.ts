/** @file What a task is: columns, examples, batches, loss, metrics, predictions. The trainer, the command
 * line and servers use tasks through these types and know none by name. */
import type { Table } from "../data/table.ts";
import type { Tensor } from "../graph/node.ts";
import type { InputOptions, InputShape } from "../models/inputs.ts";
import type { Model, TaskType } from "../models/family.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { HeadLabels } from "./head-labels.ts";
import type { Columns, TaskOptions, UseSettings } from "./options.ts";

/** A tokenised example: one row of a batch. A long input may make several. T tokens. */
export interface Example {
  /** [T], special tokens included. */
  readonly inputIds: Int32Array;
  /** [T], segments: where a text has a second one. */
  readonly tokenTypeIds?: Int32Array;
}

/** Turns texts into token ids that fit the model. */
export interface Encoder {
  /** Longest sequence, in tokens. */
  readonly maxLength: number;
  /** The token of an empty text. */
  readonly emptyToken: number;
  readonly tokenizer: Tokenizer;
  /** Token ids of each text, at least one, at most maxLength; how many texts were cut. */
  encode(texts: readonly string[]): { ids: Int32Array[]; truncated: number };
}

/** Examples and how many of their texts were cut to the encoder's length. */
export interface Examples<E extends Example = Example> {
  readonly examples: E[];
  readonly truncated: number;
  /** What the user should know about the data. */
  readonly warnings?: readonly string[];
}

/** What to predict for: a value for each of the task's fields, e.g. { text } or { question, context }. */
export type Input = Readonly<Record<string, unknown>>;

/** Values of a batch's graph inputs by name. */
export type Feeds = Readonly<Record<string, HostTensor>>;

/** What a batch gave: values of `TaskGraph.results` by name. The first axis is the batch's. */
export type Outputs = Readonly<Record<string, HostTensor>>;

/** The symbolic results of a batch. */
export interface TaskGraph {
  /** What `decode` reads, each [B, …], e.g. the logits. */
  readonly results: Readonly<Record<string, Tensor>>;
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

/** A part of metrics or data as rows, for terminals and model cards. */
export interface MetricTable {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

/** Whether a metric of a task is better the lower it is. */
export const isLowerBetter = (task: Pick<Task, "lowerIsBetter">, metric: string): boolean =>
  metric === "loss" || (task.lowerIsBetter?.includes(metric) ?? false);

/** A task on a given label set. E its examples, R what it keeps of an example's outputs, P what it predicts
 * for an input, as plain JSON. */
export interface Task<E extends Example = any, R = any, P = any> {
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
  /** What the user should know of the training data. */
  readonly warnings?: readonly string[];
  /** Names of the scalars of `metrics`. */
  readonly metricNames: readonly string[];
  /** Those of them that are better the lower they are; the loss always is. */
  readonly lowerIsBetter?: readonly string[];
  /** The scalar by which the best adapter is chosen unless the user names another. */
  readonly bestMetric: string;
  /** Fields of an input, the first required: ["text"], ["question", "context"]. A column has the name of
   * its field, with "Column" behind it, among the options. */
  readonly fields: readonly string[];
  /** The settings of `useSettings` that it knows: `restore` takes them with the state. Default none. */
  readonly settings?: readonly (keyof UseSettings)[];

  /** Labelled examples of a table. Throws LowrankError("data") that names file and line. */
  readExamples(table: Table, encoder: Encoder, columns?: Columns): Examples<E>;
  /** The inputs in a table, labels not needed. Throws LowrankError("data"). */
  readInputs(table: Table, columns?: Columns): Input[];
  /** Examples without labels. Throws LowrankError("data") for inputs that lack a field. */
  inputExamples(inputs: readonly Input[], encoder: Encoder): Examples<E>;
  /** Graph inputs of a batch; rows beyond the examples are filled up and count nothing. */
  collate(examples: readonly E[], shape: InputShape, padTokenId: number): Feeds;
  /** The model's results and loss on a batch of this shape; dropout as the model's mode says. */
  build(model: Model, shape: InputShape, inputs?: InputOptions): TaskGraph;
  /** Number of labels that a batch's lossSum is the sum over (their weights, with class weights). */
  countLabels(feeds: Feeds): number;
  /** What is kept of row `row` of a batch's outputs, the row of `example`. */
  decode(outputs: Outputs, row: number, example: E): R;
  /** The task's scalars without the loss, and its details, of labelled examples. */
  metrics(examples: readonly E[], results: readonly R[]): Metrics;
  /** One prediction for each input, from the results of its examples (`inputExamples`). */
  predictions(inputs: readonly Input[], examples: readonly E[], results: readonly R[]): P[];
  /** A prediction as lines of cells, for terminals: "label, score". */
  lines(prediction: P): (readonly (string | number)[])[];
  /** The details of metrics as tables. */
  tables(metrics: Metrics): MetricTable[];
}

/** How a task comes about. One object per task, listed in registry.ts. */
export interface TaskKind<Name extends string = string> {
  readonly type: TaskType;
  readonly name: Name;
  /** Other names that users know it by. */
  readonly aliases: readonly string[];
  /** The columns and settings that it reads; those of other tasks are refused. */
  readonly options: readonly (keyof TaskOptions)[];
  /** Whether the head is the base model's own, so that adapters have none. */
  readonly keepsBaseHead?: boolean;
  /** A class of each row, in whose proportions a held-out part is split off; all 0 where there are none. */
  strata(table: Table, options: TaskOptions): number[];
  /** Where rows belong together: the group of each. Groups are held out whole, whatever the strata. */
  groups?(table: Table, options: TaskOptions): number[];
  /** The task that training data defines, on a head that is there already, if one is. Throws LowrankError("data"). */
  create(table: Table, options: TaskOptions, head?: HeadLabels): Task;
  /** The task of a saved adapter. Throws LowrankError("config"). */
  restore(state: unknown, where: string): Task;
  /** The task of an adapter from elsewhere, by its base's config.json and its head's rows (0: no head). */
  fromConfig(config: Readonly<Record<string, unknown>>, headRows: number): Task;
}

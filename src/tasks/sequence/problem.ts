/** @file What sequence classification predicts of a text: one label (single-label.ts), several (multi-label.ts),
 * or a number (regression.ts). Each is a SequenceProblem; the task around it is the same for all
 * (../sequence-classification.ts). Letters: B batch, L outputs of the head. */
import { z } from "zod";
import type { Table } from "../../data/table.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import type { HeadLabels } from "../head-labels.ts";
import { PROBLEM_TYPES, type ProblemType } from "../objectives.ts";
import type { TaskOptions, UseSettings } from "../options.ts";
import type { Metrics, MetricTable } from "../task.ts";

/** What an adapter must remember. */
export const stateSchema = z.object({
  problemType: z.enum(PROBLEM_TYPES).default("single_label_classification"),
  /** Names of the head's outputs, in the order of their ids. */
  labels: z.array(z.string()).min(1),
  /** Columns of the training data, tried first in other files. With a second text, texts are pairs. */
  textColumn: z.string().optional(),
  textPairColumn: z.string().optional(),
  labelColumn: z.string().optional(),
  /** What stands between the labels of a row, where these are one text. */
  labelSeparator: z.string().optional(),
  /** Lowest probability of a label that is predicted, where several may be. */
  threshold: z.number().gt(0).lt(1).optional(),
  /** Weight of each label in the loss. */
  classWeights: z.array(z.number()).optional(),
});

export type State = z.infer<typeof stateSchema>;

/** The labels in a table, and what the problem's state says of them. */
export interface Defined {
  readonly state: Pick<
    State,
    "problemType" | "labels" | "labelSeparator" | "threshold" | "classWeights"
  >;
  readonly warnings?: readonly string[];
}

/** T: the target of an example, P: what is predicted, as plain JSON. */
export interface SequenceProblem<T = any, P = any> {
  /** What to show of it when training starts. */
  readonly details: Readonly<Record<string, unknown>>;
  readonly metricNames: readonly string[];
  readonly lowerIsBetter?: readonly string[];
  readonly bestMetric: string;
  /** Settings that may be others when an adapter is used. Default none. */
  readonly settings?: readonly (keyof UseSettings)[];
  /** The target of an example that has none: it counts nothing. */
  readonly unknown: T;
  /** A target for each row of labelled data. Throws LowrankError("data"). */
  targets(table: Table, labelColumns: readonly string[]): T[];
  /** The graph input with the labels; rows beyond the targets count nothing. */
  feed(targets: readonly T[], batch: number): HostTensor;
  /** @param logits [L] of each example */
  metrics(targets: readonly T[], logits: readonly Float32Array[]): Metrics;
  prediction(logits: Float32Array): P;
  /** A prediction as one line of cells. */
  cells(prediction: P): readonly (string | number)[];
  tables(metrics: Metrics): MetricTable[];
}

/** How a problem comes about. */
export interface ProblemKind {
  readonly type: ProblemType;
  /** What training data defines. Throws LowrankError("data"). */
  define(
    table: Table,
    labelColumns: readonly string[],
    options: TaskOptions,
    head: HeadLabels | undefined,
  ): Defined;
  /** A class of each row, in whose proportions a part is held out. */
  strata(table: Table, labelColumns: readonly string[], options: TaskOptions): number[];
  make(state: State): SequenceProblem;
}

/** @file What training tells its listeners. The trainer prints nothing: a progress bar, plain lines,
 * metrics.jsonl and servers are functions of these events. */
import type { Device } from "../runtime/protocol.ts";
import type { Metrics } from "../tasks/task.ts";
import type { TrainedKind } from "../delta/source.ts";

/** Everything is loaded, the first step is about to run. */
export interface StartedEvent {
  readonly type: "started";
  /** The base model, as the user named it. */
  readonly model: string;
  readonly modelType: string;
  readonly task: string;
  /** Numbers of parameters: those of the base with the adapter, and those that training changes. */
  readonly parameters: number;
  readonly trainableParameters: number;
  readonly method: "lora" | "full";
  /** What will be stored: an adapter, a whole model, or the change of one. */
  readonly saves: TrainedKind;
  /** Size of its weights. */
  readonly storedBytes: number;
  /** Memory that the run will take at its peak, an estimate in bytes. */
  readonly memoryBytes: number;
  readonly trainExamples: number;
  /** 0 without validation data. */
  readonly validationExamples: number;
  /** What the task wants to show of itself: e.g. { labels: ["ham", "spam"] }. */
  readonly taskDetails: Readonly<Record<string, unknown>>;
  /** What computes: where "auto" was asked for, what it came down to. */
  readonly device: Device;
  /** Optimizer steps that were made before an interruption; 0 for a new run. */
  readonly stepsBefore: number;
  /** Optimizer steps of the whole run. */
  readonly totalSteps: number;
  readonly epochs: number;
  /** Longest sequence in tokens, special tokens included. */
  readonly maxLength: number;
  /** Texts longer than maxLength, which were cut. */
  readonly truncated: number;
  /** Share of the computed positions that is padding, 0 to 1. */
  readonly paddingShare: number;
}

/** An optimizer step was made. */
export interface StepEvent {
  readonly type: "step";
  /** Counted from 1. */
  readonly step: number;
  readonly totalSteps: number;
  /** Passes over the training data so far, e.g. 1.25. */
  readonly epoch: number;
  /** Mean over the labels of the step. */
  readonly loss: number;
  /** Norm of the gradient before clipping. */
  readonly gradNorm: number;
  readonly learningRate: number;
  /** Tokens of this step, padding not counted. */
  readonly tokens: number;
  /** Mean speed since training began, without evaluations. */
  readonly tokensPerSecond: number;
  /** Estimate until the last step, evaluations included. */
  readonly remainingSeconds: number;
}

/** An evaluation on the validation data is about to run or runs. */
export interface EvaluatingEvent {
  readonly type: "evaluating";
  readonly step: number;
  /** Examples evaluated so far, and in all. */
  readonly done: number;
  readonly total: number;
}

/** The validation data was evaluated. */
export interface EvaluatedEvent {
  readonly type: "evaluated";
  readonly step: number;
  readonly epoch: number;
  readonly metrics: Metrics;
  /** Whether this is the best adapter so far. */
  readonly isBest: boolean;
  readonly seconds: number;
}

/** Something that the user should know and that does not stop the run. */
export interface WarningEvent {
  readonly type: "warning";
  readonly message: string;
}

/** Training stops before the last step; what follows is restoring the best adapter and saving. */
export interface StoppingEvent {
  readonly type: "stopping";
  readonly step: number;
  readonly reason: "early-stopping" | "aborted";
  readonly message: string;
}

/** An adapter directory is complete: at the end, and with `saveEvery` on the way. */
export interface SavedEvent {
  readonly type: "saved";
  readonly directory: string;
  /** The step whose adapter it holds. */
  readonly step: number;
}

/** Training has failed; `train()` rejects with the same message. */
export interface FailedEvent {
  readonly type: "failed";
  readonly step: number;
  readonly message: string;
}

/** The last event of a run that did not fail. */
export interface FinishedEvent {
  readonly type: "finished";
  readonly result: TrainResult;
}

/** Whatever a `Trainer` tells while it trains, by its `type`. */
export type TrainingEvent =
  | StartedEvent
  | StepEvent
  | EvaluatingEvent
  | EvaluatedEvent
  | WarningEvent
  | StoppingEvent
  | SavedEvent
  | FailedEvent
  | FinishedEvent;

/** Called with every event, in order. Must not throw. */
export type Listener = (event: TrainingEvent) => void;

/** What a training run came to. */
export interface TrainResult {
  /** Why it ended; "diverged" stands in the saved description only, since `train()` then rejects. */
  readonly reason: "completed" | "early-stopping" | "aborted" | "diverged";
  /** Optimizer steps made. */
  readonly steps: number;
  /** Passes over the training data. */
  readonly epochs: number;
  readonly seconds: number;
  /** Tokens trained on, padding not counted. */
  readonly tokens: number;
  /** Mean training loss of the last epoch (of the part that was run). */
  readonly trainLoss: number;
  /** The step whose weights are kept. */
  readonly keptStep: number;
  /** Validation metrics of that adapter; absent without an evaluation of it. */
  readonly metrics?: Metrics;
  /** The directory with what was trained; absent without `output`. */
  readonly output?: string;
}

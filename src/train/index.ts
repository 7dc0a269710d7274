/** @file "lowrank/train": the trainer, and its parts for training loops of one's own. */

export { ADAMW_DEFAULTS, type AdamWOptions } from "../optim/adamw.ts";
export { learningRateAt, SCHEDULES, type ScheduleName } from "../optim/schedule.ts";
export { Evaluator, type EvaluatorOptions } from "./evaluate.ts";
export type * from "./events.ts";
export { jsonLines } from "./listeners/jsonl.ts";
export { lines, type LinesOptions } from "./listeners/lines.ts";
export {
  trainOptions,
  trainOptionsSchema,
  type TrainOptions,
  type TrainOptionsInput,
} from "./options.ts";
export { Predictor, type DataNotes, type PredictorOptions } from "./predict.ts";
export {
  Stepper,
  type MicroBatch,
  type StepperOptions,
  type StepperState,
  type StepResult,
} from "./step/stepper.ts";
export type { FillState } from "./step/trainable.ts";
export {
  Trainer,
  type DataRows,
  type DataSource,
  type Hooks,
  type ResumeOptions,
  type TrainerOptions,
} from "./trainer.ts";

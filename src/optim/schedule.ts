/** @file Learning-rate schedules, as transformers defines them. */
import { LowrankError } from "../errors.ts";

/** Courses of the learning rate after the warm-up. */
export const SCHEDULES = ["constant", "linear", "cosine"] as const;
/** One of `SCHEDULES`. */
export type ScheduleName = (typeof SCHEDULES)[number];

export interface ScheduleOptions {
  readonly schedule: ScheduleName;
  /** The highest rate. */
  readonly learningRate: number;
  /** Steps in which the rate rises linearly; the first of them has rate 0. */
  readonly warmupSteps: number;
  /** All steps, warm-up included. */
  readonly totalSteps: number;
}

/** Rate of a step, counted from 0. Throws LowrankError("usage") for an unknown schedule. */
export function learningRateAt(step: number, options: ScheduleOptions): number {
  const { schedule, learningRate, warmupSteps, totalSteps } = options;
  if (step < warmupSteps) return (learningRate * step) / Math.max(1, warmupSteps);
  const progress = (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
  switch (schedule) {
    case "constant":
      return learningRate;
    case "linear":
      return learningRate * Math.max(0, 1 - progress);
    case "cosine":
      return learningRate * Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
    default:
      throw new LowrankError(
        "usage",
        `schedule: expected one of ${SCHEDULES.join(", ")}, got ${JSON.stringify(schedule)}.`,
      );
  }
}

/** @file Which of two evaluations is better. */
import { LowrankError } from "../errors.ts";
import type { Metrics } from "../tasks/task.ts";

/** Whether metrics are better by a scalar, a higher or a lower one; equal ones by the loss. Throws
 * LowrankError("usage"). */
export function isBetter(
  metrics: Metrics,
  best: Metrics | undefined,
  name: string,
  isLower = name === "loss",
): boolean {
  const value = metrics.scalars[name];
  if (value === undefined) {
    throw new LowrankError(
      "usage",
      `bestMetric: there is no metric ${JSON.stringify(name)}. Metrics: ${Object.keys(metrics.scalars).join(", ")}.`,
    );
  }
  if (!best) return true;
  const difference = value - best.scalars[name]!;
  if (difference !== 0) return isLower ? difference < 0 : difference > 0;
  return metrics.scalars["loss"]! < best.scalars["loss"]!;
}

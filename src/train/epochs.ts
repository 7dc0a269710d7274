/** @file The batches of each epoch, and how many steps they make. */
import { planBatches, type Batch } from "../data/batches.ts";
import type { Example } from "../tasks/task.ts";
import type { TrainOptions } from "./options.ts";

/** The batches of an epoch, the same for the same seed. */
export function epochBatches(
  examples: readonly Example[],
  { batchSize, seed }: TrainOptions,
  limits: { readonly maxLength: number; readonly lengthMultiple: number },
  epoch: number,
): Batch[] {
  const lengths = examples.map(({ inputIds }) => inputIds.length);
  return planBatches(lengths, { batchSize, shuffle: true, seed, epoch, ...limits });
}

/** Optimizer steps of a run, and of one epoch: a started step of the last epoch counts, as in transformers' Trainer. */
export function countSteps(
  examples: number,
  { batchSize, gradientAccumulation, epochs, steps }: TrainOptions,
): { perEpoch: number; total: number } {
  const perEpoch = Math.ceil(Math.ceil(examples / batchSize) / gradientAccumulation);
  return { perEpoch, total: steps ?? Math.ceil(epochs * perEpoch) };
}

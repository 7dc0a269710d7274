/** @file Searching the training options that do best on the validation data: a grid, random draws, or successive
 * halving of draws. Whether there can be trials, and what they are chosen by, is checked before the first (swept-trials.ts). */
import { LowrankError, requireOptions } from "../errors.ts";
import { isLowerBetter } from "../tasks/task.ts";
import type { TrainOptionsInput } from "../train/options.ts";
import { prepare, type Prepared } from "../train/prepare.ts";
import { draw, grid, type Configuration, type Space } from "./space.ts";
import {
  roundsOf,
  runSweptTrials,
  type SweepResult,
  type SweptTrialsOptions,
} from "./swept-trials.ts";
import type { TrialListeners } from "./trials.ts";

export interface SweepOptions extends Omit<
  SweptTrialsOptions,
  "configurations" | "lowerIsBetter" | keyof TrialListeners
> {
  readonly space: Space;
  /** Configurations to draw; a grid has its own number. */
  readonly count: number;
  /** Of the draws. */
  readonly seed: number;
  /** Called when all is checked and before the first trial; what it returns is told of the trials. */
  readonly onReady?: (ready: {
    readonly warnings: readonly string[];
    readonly trials: number;
  }) => TrialListeners | void;
}

/**
 * Run a sweep, or go on with an interrupted one in the same directory. A trial that fails does not stop the others.
 * Throws LowrankError before anything is trained where no configuration could be, and for a metric that there is not; "usage"
 * when the directory holds another sweep.
 */
export async function sweep(options: SweepOptions): Promise<SweepResult> {
  requireOptions("sweep", options);
  const { strategy, space, count, seed, base, metric } = options;
  const configurations = strategy === "grid" ? grid(space) : draw(space, count, seed);
  const { task, validation, warnings } = await firstPrepared(base, configurations);
  checkMetric(metric, ["loss", ...task.metricNames]);
  if (validation.length === 0) throw nothingToChooseBy();
  const rounds = roundsOf(strategy, configurations.length);
  const trials = rounds.reduce((sum, one) => sum + one, 0);
  return runSweptTrials({
    ...options,
    configurations,
    lowerIsBetter: isLowerBetter(task, metric),
    ...options.onReady?.({ warnings, trials }),
  });
}

/** The first configuration that training can begin with. Throws the first one's error where there is none. */
async function firstPrepared(
  base: Configuration,
  configurations: readonly Configuration[],
): Promise<Prepared> {
  let first: unknown;
  for (const configuration of configurations) {
    try {
      return await prepare(
        { ...base, ...configuration } as unknown as TrainOptionsInput,
        undefined,
      );
    } catch (error) {
      if (!(error instanceof LowrankError)) throw error;
      first ??= error;
    }
  }
  throw first;
}

function checkMetric(metric: string, names: readonly string[]): void {
  if (names.includes(metric)) return;
  throw new LowrankError(
    "usage",
    `metric: expected one of ${names.join(", ")}, got ${JSON.stringify(metric)}.`,
  );
}

const nothingToChooseBy = (): LowrankError =>
  new LowrankError(
    "usage",
    "data: no example is held out, so that there is nothing to choose by. Hold a part out, or pass validationData.",
  );

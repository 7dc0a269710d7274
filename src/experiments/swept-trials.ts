/** @file The trials of a sweep: all configurations alike, or by successive halving, which gives few steps to many
 * configurations and more to the better ones. Source of the last: Jamieson and Talwalkar,
 * https://arxiv.org/abs/1502.07943 */
import { join } from "node:path";
import { LowrankError } from "../errors.ts";
import { writeFileAtomic } from "../io/files.ts";
import { claimDirectory } from "./claim.ts";
import type { Configuration } from "./space.ts";
import { runTrials, type RunTrialsOptions, type Trial, type TrialResult } from "./trials.ts";

export const STRATEGIES = ["grid", "random", "halving"] as const;
export type Strategy = (typeof STRATEGIES)[number];

export interface SweptTrialsOptions extends Omit<RunTrialsOptions, "directory"> {
  /** Where trials, `sweep.json` and `best.json` are written. */
  readonly directory: string;
  readonly strategy: Strategy;
  readonly configurations: readonly Configuration[];
  /** Options that all trials share; `steps`, or else `epochs`, is what the last round of halving trains. */
  readonly base: Configuration;
  /** Name of the validation metric to choose by. */
  readonly metric: string;
  readonly lowerIsBetter: boolean;
}

/** Of the configurations of a round of halving, one in this many is in the next round, which trains as many times
 * longer. */
export const HALVING_FACTOR = 3;

const PLAN_FILE = "sweep.json";
export const BEST_FILE = "best.json";

export interface SweepResult {
  /** Of the last round, the best first; failed ones at the end. */
  readonly results: readonly TrialResult[];
  /** Trials in all rounds. */
  readonly trials: number;
  /** The best configuration, all options included; undefined when every trial failed. */
  readonly best: Configuration | undefined;
}

/** Trials in each round: of halving, until one configuration is left. */
export function roundsOf(strategy: Strategy, configurations: number): number[] {
  if (strategy !== "halving" || configurations <= 1) return [configurations];
  return [configurations, ...roundsOf(strategy, Math.ceil(configurations / HALVING_FACTOR))];
}

/**
 * Run the trials of a sweep, or go on with those of an interrupted one in the same directory.
 * Throws LowrankError("usage") when the directory holds another sweep.
 */
export async function runSweptTrials(options: SweptTrialsOptions): Promise<SweepResult> {
  const { directory, strategy, base, configurations } = options;
  const plan = { strategy, base, configurations };
  await claimDirectory(directory, { file: PLAN_FILE, what: "sweep", plan });

  const rounds = roundsOf(strategy, configurations.length);
  let survivors = configurations;
  let ranked: TrialResult[] = [];
  let trials = 0;
  for (const [round, count] of rounds.entries()) {
    const share = HALVING_FACTOR ** (round - rounds.length + 1);
    survivors = survivors.slice(0, count);
    const planned = survivors.map((configuration, index): Trial => {
      const id = `${rounds.length > 1 ? `round-${round + 1}-` : ""}trial-${index + 1}`;
      return { id, options: shortened({ ...base, ...configuration }, share) };
    });
    trials += planned.length;
    ranked = rank(await runTrials(planned, options), options);
    const places = new Map(planned.map(({ id }, index) => [id, survivors[index]!]));
    survivors = ranked.filter(({ error }) => error === undefined).map(({ id }) => places.get(id)!);
    if (survivors.length === 0) break;
  }
  const [first] = ranked;
  const best = first && first.error === undefined ? first.options : undefined;
  if (best) await writeFileAtomic(join(directory, BEST_FILE), `${JSON.stringify(best, null, 2)}\n`);
  return { results: ranked, trials, best };
}

/** A share of the steps where there is a number of them, else of the epochs. */
function shortened(options: Configuration, share: number): Configuration {
  const { steps, epochs } = options;
  if (typeof steps === "number") {
    return { ...options, steps: Math.max(1, Math.round(share * steps)) };
  }
  return typeof epochs === "number"
    ? { ...options, epochs: Number((share * epochs).toPrecision(6)) }
    : options;
}

/** The best first, failed ones last. Throws LowrankError("usage") for a metric that a trial does not have. */
function rank(
  results: readonly TrialResult[],
  { metric, lowerIsBetter }: SweptTrialsOptions,
): TrialResult[] {
  const value = ({ metrics, error }: TrialResult): number => {
    if (error !== undefined) return Infinity;
    const measured = metrics[metric];
    if (measured !== undefined) return lowerIsBetter ? measured : -measured;
    throw new LowrankError(
      "usage",
      `metric: there is no metric "${metric}". Metrics: ${Object.keys(metrics).join(", ") || "none, since there is no validation data"}.`,
    );
  };
  return results
    .map((result) => ({ result, value: value(result) }))
    .toSorted((a, b) => (a.value === b.value ? 0 : a.value - b.value))
    .map(({ result }) => result);
}

/** @file Searching the training options that do best on the validation data: a grid, random draws, or successive
 * halving, which gives few epochs to many configurations and more to the better ones. Source of the last:
 * Jamieson and Talwalkar, https://arxiv.org/abs/1502.07943 */
import { join } from "node:path";
import { LowrankError, requireOptions } from "../errors.ts";
import { writeFileAtomic } from "../io/files.ts";
import { claimDirectory } from "./claim.ts";
import { draw, grid, type Configuration, type Space } from "./space.ts";
import { runTrials, type RunTrialsOptions, type Trial, type TrialResult } from "./trials.ts";

export const STRATEGIES = ["grid", "random", "halving"] as const;
export type Strategy = (typeof STRATEGIES)[number];

export interface SweepOptions extends Omit<RunTrialsOptions, "directory"> {
  /** Where trials, `sweep.json` and `best.json` are written. */
  readonly directory: string;
  readonly strategy: Strategy;
  readonly space: Space;
  /** Options that all trials share; `epochs` is what the last round of halving trains. */
  readonly base: Configuration & { readonly epochs: number };
  /** Configurations to draw; a grid has its own number. */
  readonly count: number;
  /** Of the draws. */
  readonly seed: number;
  /** Name of the validation metric to choose by; "loss": the smallest, others: the largest. */
  readonly metric: string;
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

/**
 * Run a sweep, or go on with an interrupted one in the same directory.
 * Throws LowrankError("usage") when the directory holds another sweep.
 */
export async function sweep(options: SweepOptions): Promise<SweepResult> {
  requireOptions("sweep", options);
  const { directory, strategy, space, base, count, seed } = options;
  const configurations = strategy === "grid" ? grid(space) : draw(space, count, seed);
  const plan = { strategy, base, configurations };
  await claimDirectory(directory, { file: PLAN_FILE, what: "sweep", plan });

  const rounds = strategy === "halving" ? roundsOf(configurations.length) : 1;
  let survivors = configurations;
  let ranked: TrialResult[] = [];
  let trials = 0;
  for (let round = 0; round < rounds; round++) {
    const share = HALVING_FACTOR ** (round - rounds + 1);
    const planned = survivors.map((configuration, index): Trial => {
      const id = `${rounds > 1 ? `round-${round + 1}-` : ""}trial-${index + 1}`;
      return {
        id,
        options: { ...base, ...configuration, epochs: epochsOf(base, configuration, share) },
      };
    });
    trials += planned.length;
    ranked = rank(await runTrials(planned, options), options.metric);
    const kept = Math.ceil(survivors.length / HALVING_FACTOR);
    const places = new Map(planned.map(({ id }, index) => [id, survivors[index]!]));
    survivors = ranked
      .filter(({ error }) => error === undefined)
      .slice(0, kept)
      .map(({ id }) => places.get(id)!);
    if (survivors.length === 0) break;
  }
  const [first] = ranked;
  const best = first && first.error === undefined ? first.options : undefined;
  if (best) await writeFileAtomic(join(directory, BEST_FILE), `${JSON.stringify(best, null, 2)}\n`);
  return { results: ranked, trials, best };
}

/** Rounds until one configuration is left. */
function roundsOf(configurations: number): number {
  return 1 + Math.ceil(Math.log(Math.max(1, configurations)) / Math.log(HALVING_FACTOR) - 1e-9);
}

function epochsOf(base: SweepOptions["base"], own: Configuration, share: number): number {
  const epochs = typeof own["epochs"] === "number" ? own["epochs"] : base.epochs;
  return Number((epochs * share).toPrecision(6));
}

/** The best first, failed ones last. Throws LowrankError("usage") for a metric that no trial has. */
function rank(results: readonly TrialResult[], metric: string): TrialResult[] {
  const value = ({ metrics, error }: TrialResult): number => {
    const measured = metrics[metric];
    if (measured !== undefined) return metric === "loss" ? measured : -measured;
    if (error !== undefined) return Infinity;
    throw new LowrankError(
      "usage",
      `--metric: there is no metric "${metric}". Metrics: ${Object.keys(metrics).join(", ") || "none, since there is no validation data"}.`,
    );
  };
  return results.toSorted((a, b) => {
    const [x, y] = [value(a), value(b)];
    return x === y ? 0 : x - y;
  });
}

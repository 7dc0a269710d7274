/**
 * @file Training runs as processes of their own, each in a directory: `options.json`, the adapter, `log.txt`, and
 * `result.json` when it is done. Trials that have a result are not run again, so that what was interrupted goes on.
 */
import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { LowrankError } from "../errors.ts";
import { readJsonAs, writeFileAtomic } from "../io/files.ts";
import { storedNumber } from "../io/json.ts";
import { complaintOf, documentOf, runProcess, type EndedProcess } from "./process.ts";
import type { Configuration } from "./space.ts";

/** A run to make. */
export interface Trial {
  /** Name of its directory. */
  readonly id: string;
  /** Options of training, without `output`. */
  readonly options: Configuration;
}

/** What a run gave. */
export interface TrialResult extends Trial {
  /** Why it failed; absent when it did not. */
  readonly error?: string | undefined;
  /** Of the kept adapter on the validation data. */
  readonly metrics: Readonly<Record<string, number>>;
  /** The same on test data, where the experiment has some. */
  readonly testMetrics?: Readonly<Record<string, number>> | undefined;
  readonly trainableParameters: number;
  /** Size of the stored weights. */
  readonly storedBytes: number;
  /** Of training alone. */
  readonly seconds: number;
  readonly peakMemoryBytes: number;
}

export interface RunTrialsOptions {
  /** Parent of the trials' directories. */
  readonly directory: string;
  /** Program and arguments that `--config FILE --json --quiet` is added to: `node lowrank train`. */
  readonly command: readonly [string, ...string[]];
  /** Trials at a time. */
  readonly parallel: number;
  /** Called when a trial begins. */
  readonly onStart?: (trial: Trial) => void;
  /** Called when a trial is done, also for those that were done before. */
  readonly onResult?: (result: TrialResult, isNew: boolean) => void;
  /** Called with the result and the directory of a trial that did not fail, before the result is stored: what it adds is stored
   * as well. A LowrankError that it throws makes the trial a failed one. */
  readonly complete?: (result: TrialResult, directory: string) => Promise<TrialResult>;
  readonly signal?: AbortSignal | undefined;
}

/** Called as trials begin and end. */
export type TrialListeners = Pick<RunTrialsOptions, "onStart" | "onResult">;

/** Metrics as JSON has them. */
export const metricsSchema = z.record(z.string(), storedNumber);

const sizesShape = {
  trainableParameters: z.number(),
  storedBytes: z.number(),
  peakMemoryBytes: z.number(),
};

const resultSchema = z.object({
  error: z.string().optional(),
  metrics: metricsSchema,
  testMetrics: metricsSchema.optional(),
  seconds: z.number(),
  ...sizesShape,
});

export const RESULT_FILE = "result.json";
export const ADAPTER_DIRECTORY = "adapter";

/**
 * Run trials, in order, a few at a time; results in the order of the trials. A trial that fails is a result
 * with an error. An aborted signal lets the running ones go, without results, and throws.
 */
export async function runTrials(
  trials: readonly Trial[],
  options: RunTrialsOptions,
): Promise<TrialResult[]> {
  const results: TrialResult[] = [];
  const waiting = [...trials.entries()];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [index, trial] = next;
      results[index] = await resultOf(trial, options);
    }
  };
  await Promise.all(Array.from({ length: options.parallel }, work));
  return results;
}

/** What to do about a damaged file of a trial. */
export const runAgain = (directory: string): string =>
  `Remove the directory ${directory} to run the trial again.`;

async function resultOf(trial: Trial, options: RunTrialsOptions): Promise<TrialResult> {
  const directory = join(options.directory, trial.id);
  const file = join(directory, RESULT_FILE);
  if (existsSync(file)) {
    const remedy = runAgain(directory);
    const stored = await readJsonAs(file, "trial's result", { schema: resultSchema, remedy });
    const result = { ...trial, ...stored };
    options.onResult?.(result, false);
    return result;
  }
  options.onStart?.(trial);
  const result = await completed(await runTrial(trial, directory, options), directory, options);
  await writeFileAtomic(file, `${JSON.stringify(result, null, 2)}\n`);
  options.onResult?.(result, true);
  return result;
}

async function completed(
  result: TrialResult,
  directory: string,
  { complete, signal, directory: parent }: RunTrialsOptions,
): Promise<TrialResult> {
  if (!complete || result.error !== undefined) return result;
  try {
    return await complete(result, directory);
  } catch (error) {
    if (signal?.aborted) throw interrupted(parent);
    if (!(error instanceof LowrankError)) throw error;
    return { ...result, error: error.message };
  }
}

const interrupted = (directory: string): LowrankError =>
  new LowrankError(
    "training",
    `${directory}: interrupted. The same command goes on where it stopped.`,
  );

async function runTrial(
  trial: Trial,
  directory: string,
  options: RunTrialsOptions,
): Promise<TrialResult> {
  if (options.signal?.aborted) throw interrupted(options.directory);
  // What is there without a result is of an interrupted run.
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  const config = join(directory, "options.json");
  const output = join(directory, ADAPTER_DIRECTORY);
  await writeFileAtomic(config, JSON.stringify({ ...trial.options, output }, null, 2));
  const command = [...options.command, "--config", config, "--json"] as const;
  const ended = await runProcess(command, join(directory, "log.txt"), options.signal);
  if (options.signal?.aborted) throw interrupted(options.directory);
  return ended.code === 0 ? successOf(trial, ended) : failureOf(trial, ended);
}

/** The part of `lowrank train --json` that is used. */
const trainDocumentSchema = z.object({
  ...sizesShape,
  result: z.object({
    seconds: z.number(),
    metrics: z.object({ scalars: metricsSchema }).optional(),
  }),
});

function successOf(trial: Trial, ended: EndedProcess): TrialResult {
  const { result, ...sizes } = documentOf(ended, trainDocumentSchema);
  const { seconds, metrics } = result;
  return { ...trial, ...sizes, seconds, metrics: metrics?.scalars ?? {} };
}

function failureOf(trial: Trial, ended: EndedProcess): TrialResult {
  return {
    ...trial,
    error: complaintOf(ended),
    metrics: {},
    trainableParameters: 0,
    storedBytes: 0,
    seconds: 0,
    peakMemoryBytes: 0,
  };
}

/**
 * @file Training runs as processes of their own, each in a directory: `options.json`, the adapter, `log.txt`, and
 * `result.json` when it is done. Trials that have a result are not run again, so that what was interrupted goes on.
 */
import { spawn } from "node:child_process";
import { createWriteStream, existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { finished } from "node:stream/promises";
import { text as readAll } from "node:stream/consumers";
import { join } from "node:path";
import { LowrankError } from "../errors.ts";
import { readJson, writeFileAtomic } from "../io/files.ts";
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
  readonly error?: string;
  /** Of the kept adapter on the validation data. */
  readonly metrics: Readonly<Record<string, number>>;
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
  readonly signal?: AbortSignal | undefined;
}

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

async function resultOf(trial: Trial, options: RunTrialsOptions): Promise<TrialResult> {
  const file = join(options.directory, trial.id, RESULT_FILE);
  if (existsSync(file)) {
    const stored = (await readJson(file, "trial's result")) as TrialResult;
    options.onResult?.(stored, false);
    return stored;
  }
  if (options.signal?.aborted) throw interrupted(options.directory);
  options.onStart?.(trial);
  const result = await runTrial(trial, options);
  await writeFileAtomic(file, `${JSON.stringify(result, null, 2)}\n`);
  options.onResult?.(result, true);
  return result;
}

const interrupted = (directory: string): LowrankError =>
  new LowrankError(
    "usage",
    `${directory}: interrupted. The same command goes on where it stopped.`,
  );

async function runTrial(trial: Trial, options: RunTrialsOptions): Promise<TrialResult> {
  const directory = join(options.directory, trial.id);
  // What is there without a result is of an interrupted run.
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  const config = join(directory, "options.json");
  const output = join(directory, ADAPTER_DIRECTORY);
  await writeFileAtomic(config, JSON.stringify({ ...trial.options, output }, null, 2));
  const [program, ...given] = options.command;
  const child = spawn(program, [...given, "--config", config, "--json"], {
    stdio: ["ignore", "pipe", "pipe"],
    // The keyboard's Ctrl-C reaches the whole group: trials end when the sweep says so.
    detached: true,
  });
  const stop = (): void => void child.kill("SIGKILL");
  options.signal?.addEventListener("abort", stop, { once: true });
  const log = createWriteStream(join(directory, "log.txt"));
  const messages: string[] = [];
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    log.write(text);
    messages.push(...text.split("\n").filter((line) => line.trim() !== ""));
    messages.splice(0, messages.length - 5);
  });
  try {
    const [stdout, code] = await Promise.all([
      readAll(child.stdout),
      new Promise<number | null>((resolve, reject) => {
        child.once("error", reject).once("close", resolve);
      }),
    ]);
    if (options.signal?.aborted) throw interrupted(options.directory);
    return code === 0 ? successOf(trial, stdout) : failureOf(trial, messages, code);
  } finally {
    options.signal?.removeEventListener("abort", stop);
    await finished(log.end());
  }
}

/** The part of `lowrank train --json` that is used. */
interface TrainDocument {
  readonly trainableParameters: number;
  readonly storedBytes: number;
  readonly peakMemoryBytes: number;
  readonly result: {
    readonly seconds: number;
    readonly metrics?: { readonly scalars: Readonly<Record<string, number>> };
  };
}

function successOf(trial: Trial, stdout: string): TrialResult {
  const { trainableParameters, storedBytes, peakMemoryBytes, result } = JSON.parse(
    stdout,
  ) as TrainDocument;
  return {
    ...trial,
    metrics: result.metrics?.scalars ?? {},
    trainableParameters,
    storedBytes,
    seconds: result.seconds,
    peakMemoryBytes,
  };
}

function failureOf(trial: Trial, messages: readonly string[], code: number | null): TrialResult {
  const said = messages.findLast((line) => line.startsWith("lowrank:")) ?? messages.at(-1);
  return {
    ...trial,
    error: said?.replace(/^lowrank: /, "") ?? `the process ended with code ${code}`,
    metrics: {},
    trainableParameters: 0,
    storedBytes: 0,
    seconds: 0,
    peakMemoryBytes: 0,
  };
}

/**
 * @file Comparing full fine-tuning with LoRA of several ranks, from the options to the report: checks everything (setting.ts), runs
 * the trials (compared-trials.ts), puts them together (comparison.ts) and writes what came out.
 */
import { join } from "node:path";
import { requireOptions } from "../errors.ts";
import { kebabCase } from "../format.ts";
import { writeFileAtomic } from "../io/files.ts";
import { columnOptions } from "../tasks/options.ts";
import { trainOptions, type TrainOptionsInput } from "../train/options.ts";
import { givenOptions } from "./claim.ts";
import { runComparedTrials, type ComparedTrial } from "./compared-trials.ts";
import { collect, type Comparison } from "./comparison.ts";
import { METHODS, planTrials, type Method, type PlanOptions } from "./plan.ts";
import type { CommandLine } from "./process.ts";
import { reportOf } from "./report/report.ts";
import { resultsCsv, trialsCsv } from "./report/tables.ts";
import { settingOf, type Setting } from "./setting.ts";
import { trainedSpectra } from "./spectra.ts";
import type { TrialListeners } from "./trials.ts";

/** Options of training that all trials share. */
export type SharedOptions = Omit<
  TrainOptionsInput,
  "output" | "overwrite" | "method" | "save" | "r"
>;

export interface CompareOptions {
  /** Where the trials, the results and the report are written. The same call goes on with what was interrupted there. */
  readonly directory: string;
  /** The learning rate is LoRA's; the seed is the first of the seeds. */
  readonly training: SharedOptions;
  readonly methods: readonly Method[];
  /** Of LoRA. */
  readonly ranks: readonly number[];
  /** How many seeds. */
  readonly seeds: number;
  /** Default: a tenth of LoRA's. */
  readonly fullLearningRate?: number | undefined;
  /** A data file that all are measured on at the end; default: the validation data. */
  readonly testData?: string | undefined;
  /** The metric that the plots show; default: the accuracy, or the task's own where it has none. */
  readonly metric?: string | undefined;
  /** Trials at a time. */
  readonly parallel: number;
  /** How a process runs this library's command: ["node", "node_modules/lowrank/dist/cli/main.js"]. */
  readonly program: CommandLine;
  /** Called when all is checked and before the first trial; what it returns is told of the trials. */
  readonly onReady?: (ready: {
    readonly setting: Setting;
    readonly warnings: readonly string[];
    readonly trials: number;
  }) => TrialListeners | void;
  readonly signal?: AbortSignal | undefined;
}

export interface CompareResult {
  readonly setting: Setting;
  readonly comparison: Comparison;
  readonly trials: readonly ComparedTrial[];
}

/** Full fine-tuning changes every weight by itself, LoRA's products have to grow from zero. */
const FULL_LEARNING_RATE_SHARE = 0.1;

/**
 * Train a model in full and with LoRA of several ranks, with several seeds each, and write `report.html`, `results.json`,
 * `results.csv` and `trials.csv`. A trial that fails is named there and does not stop the others.
 * Throws LowrankError before anything is trained for whatever can be known before, and "training" when it is interrupted.
 */
export async function compare(options: CompareOptions): Promise<CompareResult> {
  requireOptions("compare", options);
  requireOptions("compare: training", options.training);
  const { directory, training, testData, metric, parallel, program, signal } = options;
  const plan = planOf(options);
  const { setting, warnings } = await settingOf({ ...plan, testData, metric, parallel });
  const listeners = options.onReady?.({ setting, warnings, trials: planTrials(plan).length });
  const trials = await runComparedTrials({
    ...plan,
    directory,
    program,
    testArguments: testData === undefined ? undefined : testArguments(testData, training),
    spectraOf: (trained) => trainedSpectra(trained, training.model, setting.matrices),
    parallel,
    signal,
    ...listeners,
  });
  const comparison = await collect(directory, trials);
  const result = { setting, comparison, trials };
  await writeResults(directory, result);
  return result;
}

function planOf(options: CompareOptions): PlanOptions {
  const { methods, ranks, seeds, training } = options;
  const { model, data } = training;
  const defaults = trainOptions({ model, data });
  const { learningRate: lora = defaults.learningRate, seed = defaults.seed } = training;
  const tenth = Number((FULL_LEARNING_RATE_SHARE * lora).toPrecision(6));
  return {
    methods: METHODS.filter((method) => methods.includes(method)),
    ranks: [...new Set(ranks)].sort((a, b) => a - b),
    seeds: Array.from({ length: seeds }, (_, index) => seed + index),
    base: givenOptions(training),
    learningRates: { full: options.fullLearningRate ?? tenth, lora },
  };
}

/** Flags of `lowrank evaluate` for the test data: their columns are called as those of the training data. */
function testArguments(testData: string, training: SharedOptions): string[] {
  const used = [...Object.keys(columnOptions), "device", "threads", "batchSize"];
  const flags = used.flatMap((key) => {
    const value = training[key as keyof SharedOptions];
    return value === undefined ? [] : [`--${kebabCase(key)}`, String(value)];
  });
  return ["--data", testData, ...flags];
}

async function writeResults(
  directory: string,
  { setting, comparison, trials }: CompareResult,
): Promise<void> {
  const files = {
    "results.json": `${JSON.stringify({ setting, ...comparison, trials }, null, 2)}\n`,
    "results.csv": resultsCsv(comparison, setting.metric),
    "trials.csv": trialsCsv(trials),
    "report.html": reportOf(comparison, setting),
  };
  for (const [name, text] of Object.entries(files)) {
    await writeFileAtomic(join(directory, name), text);
  }
}

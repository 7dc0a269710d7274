/** @file The trials of a comparison (plan.ts), run in processes of their own; each is measured before it counts as done. */
import { join } from "node:path";
import { z } from "zod";
import { LowrankError } from "../errors.ts";
import { writeFileAtomic } from "../io/files.ts";
import { claimDirectory } from "./claim.ts";
import { planTrials, type PlannedTrial, type PlanOptions, type Variant } from "./plan.ts";
import { complaintOf, documentOf, runProcess, type CommandLine } from "./process.ts";
import { SPECTRA_FILE, type MatrixSpectrum } from "./spectra.ts";
import {
  ADAPTER_DIRECTORY,
  metricsSchema,
  runTrials,
  type RunTrialsOptions,
  type TrialResult,
} from "./trials.ts";

export interface ComparedTrialsOptions
  extends PlanOptions, Omit<RunTrialsOptions, "command" | "complete"> {
  /** This program: its commands `train` and `evaluate` are run. */
  readonly program: CommandLine;
  /** Arguments of `evaluate` for test data: ["--data", FILE]. Absent where the validation data decides. */
  readonly testArguments?: readonly string[] | undefined;
  /** The spectra of the changes that a trained directory holds. */
  readonly spectraOf: (directory: string) => Promise<readonly MatrixSpectrum[]>;
}

export interface ComparedTrial extends TrialResult {
  readonly variant: Variant;
  readonly seed: number;
}

const PLAN_FILE = "compare.json";

/**
 * Run all trials, or those that a comparison in the same directory has not run, which may have had other methods, ranks or seeds.
 * Throws LowrankError("usage") when the directory holds another comparison, "io" when it holds something else.
 */
export async function runComparedTrials(
  options: ComparedTrialsOptions,
): Promise<readonly ComparedTrial[]> {
  const { methods, ranks, seeds, base, learningRates, testArguments, directory } = options;
  const plan = { methods, ranks, seeds, learningRates, base, testArguments };
  await claimDirectory(directory, {
    file: PLAN_FILE,
    what: "comparison",
    plan,
    extent: ["methods", "ranks", "seeds"],
  });
  const trials = planTrials(options);
  const results = await runTrials(trials, {
    ...options,
    command: [...options.program, "train"],
    complete: (result, own) => measure(result, own, options),
  });
  return results.map((result, index) => comparedTrial(result, trials[index]!));
}

const comparedTrial = (result: TrialResult, { variant, seed }: PlannedTrial): ComparedTrial => ({
  ...result,
  variant,
  seed,
});

/** Everything that the trained directory is needed for: metrics on test data, and the spectra, in a file beside. */
async function measure(
  result: TrialResult,
  directory: string,
  { program, testArguments, spectraOf, signal }: ComparedTrialsOptions,
): Promise<TrialResult> {
  const trained = join(directory, ADAPTER_DIRECTORY);
  const use = [...program, "evaluate", "--adapter", trained, "--json"] as const;
  const testMetrics = testArguments
    ? await evaluate([...use, ...testArguments], directory, signal)
    : undefined;
  const spectra = await spectraOf(trained);
  await writeFileAtomic(join(directory, SPECTRA_FILE), `${JSON.stringify(spectra)}\n`);
  return { ...result, ...(testMetrics ? { testMetrics } : {}) };
}

/** The part of `lowrank evaluate --json` that is used. */
const evaluationSchema = z.object({ metrics: metricsSchema });

async function evaluate(
  command: CommandLine,
  directory: string,
  signal: AbortSignal | undefined,
): Promise<Record<string, number>> {
  const ended = await runProcess(command, join(directory, "log.txt"), signal);
  if (ended.code !== 0) {
    throw new LowrankError("training", `measuring it on the test data: ${complaintOf(ended)}`);
  }
  return documentOf(ended, evaluationSchema).metrics;
}

/**
 * @file Full fine-tuning against LoRA of several ranks, on the same data, with the same seeds: which trials that needs, and running
 * them. What came out is put together in comparison.ts, and shown in report/.
 */
import { join } from "node:path";
import { LowrankError } from "../errors.ts";
import { writeFileAtomic } from "../io/files.ts";
import { loraConfigSchema } from "../lora/config.ts";
import { claimDirectory } from "./claim.ts";
import { complaintOf, runProcess, type CommandLine } from "./process.ts";
import type { Configuration } from "./space.ts";
import { SPECTRA_FILE, type MatrixSpectrum } from "./spectra.ts";
import {
  ADAPTER_DIRECTORY,
  runTrials,
  type RunTrialsOptions,
  type Trial,
  type TrialResult,
} from "./trials.ts";

export const METHODS = ["full", "lora"] as const;
export type Method = (typeof METHODS)[number];

/** A way to fine-tune, to be tried with every seed. */
export interface Variant {
  /** "full", "lora-r8". */
  readonly id: string;
  readonly method: Method;
  /** Absent for full fine-tuning. */
  readonly rank?: number;
}

export interface PlannedTrial extends Trial {
  readonly variant: Variant;
  readonly seed: number;
}

export interface PlanOptions {
  readonly methods: readonly Method[];
  readonly ranks: readonly number[];
  readonly seeds: readonly number[];
  /** Options of training that all trials share; those of one method are left out for the other. */
  readonly base: Configuration;
  readonly learningRates: Readonly<Record<Method, number>>;
}

/** Options of training that only one method has. */
const OWN_OPTIONS: Readonly<Record<Method, readonly string[]>> = {
  lora: [...Object.keys(loraConfigSchema.shape), "loraPlusLrRatio", "loraPlusLrEmbedding"],
  full: ["trainModules", "trainLastLayers", "saveDtype"],
};

/** Full fine-tuning once, LoRA once for each rank. */
export function variantsOf({
  methods,
  ranks,
}: Pick<PlanOptions, "methods" | "ranks">): readonly Variant[] {
  return METHODS.filter((method) => methods.includes(method)).flatMap((method): Variant[] =>
    method === "full"
      ? [{ id: "full", method }]
      : ranks.map((rank) => ({ id: `lora-r${rank}`, method, rank })),
  );
}

/** Options of training for a variant. Full fine-tuning stores the change of the weights, whose spectrum is wanted. */
export function optionsOf({ method, rank }: Variant, plan: PlanOptions): Configuration {
  const other = METHODS.find((one) => one !== method)!;
  const shared = Object.entries(plan.base).filter(([key]) => !OWN_OPTIONS[other].includes(key));
  return {
    ...Object.fromEntries(shared),
    method,
    learningRate: plan.learningRates[method],
    ...(method === "full" ? { save: "delta" } : { r: rank }),
  };
}

/** All variants with the first seed, then with the next: the seed also decides which part of the data is held out, so that the
 * trials of a seed are measured on the same examples. */
export function planTrials(plan: PlanOptions): readonly PlannedTrial[] {
  return plan.seeds.flatMap((seed) =>
    variantsOf(plan).map((variant) => ({
      id: `${variant.id}-seed-${seed}`,
      variant,
      seed,
      options: { ...optionsOf(variant, plan), seed },
    })),
  );
}

export interface CompareOptions
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
 * Run all trials, or those that an interrupted comparison in the same directory has not run.
 * Throws LowrankError("usage") when the directory holds another comparison or something else.
 */
export async function runComparison(options: CompareOptions): Promise<readonly ComparedTrial[]> {
  const { methods, ranks, seeds, base, learningRates, testArguments, directory } = options;
  const plan = { methods, ranks, seeds, learningRates, base, testArguments };
  await claimDirectory(directory, { file: PLAN_FILE, what: "comparison", plan });
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
  { program, testArguments, spectraOf, signal }: CompareOptions,
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

async function evaluate(
  command: CommandLine,
  directory: string,
  signal: AbortSignal | undefined,
): Promise<Record<string, number>> {
  const ended = await runProcess(command, join(directory, "log.txt"), signal);
  if (ended.code !== 0) {
    throw new LowrankError("training", `measuring it on the test data: ${complaintOf(ended)}`);
  }
  const { metrics } = JSON.parse(ended.stdout) as { metrics: Record<string, number | null> };
  return Object.fromEntries(
    Object.entries(metrics).map(([name, value]) => [name, value ?? Number.NaN]),
  );
}

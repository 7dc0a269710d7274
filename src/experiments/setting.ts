/**
 * @file What a comparison is made with, found out and checked before anything is trained: model, data and options are read as
 * training reads them, so that what would stop a trial stops the comparison first.
 */
import { availableParallelism, cpus, totalmem } from "node:os";
import { LowrankError } from "../errors.ts";
import { sizeOf } from "../graph/shape.ts";
import { isLoraLayer } from "../lora/layers.ts";
import type { Module } from "../nn/module.ts";
import { Engine } from "../runtime/engine.ts";
import { isLowerBetter, type Task } from "../tasks/task.ts";
import { sameData, toTable } from "../train/data.ts";
import type { TrainOptions, TrainOptionsInput } from "../train/options.ts";
import { prepare, type Prepared } from "../train/prepare.ts";
import { libraryVersion } from "../version.ts";
import { optionsOf, variantsOf, type PlanOptions } from "./plan.ts";
import type { Configuration } from "./space.ts";

/** What the report says of how its numbers came about. */
export interface Setting extends PlanOptions {
  readonly modelType: string;
  readonly parameters: number;
  readonly task: string;
  /** The metric that the plots show. */
  readonly metric: string;
  /** The metric by which a trial's best step is kept. */
  readonly keptBy: string;
  /** Whether that metric is better the lower it is. */
  readonly lowerIsBetter: boolean;
  /** Examples; `test` where there are test data. */
  readonly examples: {
    readonly train: number;
    readonly validation: number;
    readonly test?: number;
  };
  readonly testData?: string;
  readonly maxLength: number;
  readonly versions: Readonly<Record<"lowrank" | "node" | "onnxRuntime", string>>;
  readonly machine: {
    readonly processor: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly platform: string;
  };
  /** Names of the adapted weights, whose changes are compared; absent without LoRA. */
  readonly matrices?: readonly string[];
  /** Trials that ran beside each other. */
  readonly parallel: number;
}

export interface SettingOptions extends PlanOptions {
  readonly parallel: number;
  readonly testData?: string | undefined;
  /** Default: the accuracy, or the task's own where it has none. */
  readonly metric?: string | undefined;
}

/**
 * Check a comparison. Throws LowrankError for whatever would make trials fail that can be known before: options, data, labels of
 * the test data, a rank above the smallest adapted matrix, a device that does not work.
 */
export async function settingOf(
  options: SettingOptions,
): Promise<{ setting: Setting; warnings: readonly string[] }> {
  const { testData, seeds, parallel } = options;
  checkSeeds(seeds);
  const prepared: Prepared[] = [];
  // One of each method: of LoRA the least rank, which fits where any does.
  for (const variant of variantsOf({ ...options, ranks: options.ranks.slice(0, 1) })) {
    const own = { ...optionsOf(variant, options), seed: seeds[0] };
    prepared.push(await prepare(own as unknown as TrainOptionsInput, undefined));
  }
  const adapted = prepared.flatMap(({ base }) => adaptedWeights(base.model));
  checkRanks(adapted, options.ranks);
  const [first] = prepared as [Prepared, ...Prepared[]];
  const { base, task, train, validation, options: resolved } = first;
  const test =
    testData === undefined
      ? undefined
      : task.readExamples(await toTable(testData), base.encoder, resolved);
  if (!test && validation.length === 0) throw nothingToMeasure(resolved);
  const { methods, ranks, learningRates } = options;
  const metric = metricOf(task, options.metric);
  return {
    setting: {
      methods,
      ranks,
      seeds,
      learningRates,
      base: options.base,
      modelType: base.family.modelType,
      parameters: countOwn(base.model),
      task: task.name,
      metric,
      keptBy: resolved.bestMetric ?? task.bestMetric,
      lowerIsBetter: isLowerBetter(task, metric),
      examples: {
        train: train.length,
        validation: validation.length,
        ...(test ? { test: test.examples.length } : {}),
      },
      ...(testData === undefined ? {} : { testData }),
      maxLength: base.encoder.maxLength,
      ...(adapted.length > 0 ? { matrices: adapted.map(({ name }) => name) } : {}),
      versions: {
        lowrank: libraryVersion(),
        node: process.version,
        onnxRuntime: await engineVersion(options.base),
      },
      machine: {
        processor: cpus()[0]?.model.trim() ?? "unknown",
        cores: availableParallelism(),
        memoryBytes: totalmem(),
        platform: `${process.platform} ${process.arch}`,
      },
      parallel,
    },
    warnings: [
      ...first.warnings,
      ...(testData === undefined ? [] : sameData("test", resolved.data, testData)),
      ...(test?.warnings ?? []),
    ],
  };
}

function metricOf(task: Task, asked: string | undefined): string {
  const names = ["loss", ...task.metricNames];
  if (asked === undefined) return names.includes("accuracy") ? "accuracy" : task.bestMetric;
  if (names.includes(asked)) return asked;
  throw new LowrankError(
    "usage",
    `metric: expected one of ${names.join(", ")}, got ${JSON.stringify(asked)}.`,
  );
}

const MAX_SEED = 0x7fff_ffff;

function checkSeeds(seeds: readonly number[]): void {
  const largest = Math.max(...seeds);
  if (largest <= MAX_SEED) return;
  throw new LowrankError(
    "usage",
    `seed: expected the last of ${seeds.length} seeds to be at most ${MAX_SEED}, got ${largest}. Start with a smaller one.`,
  );
}

/** Parameters of a model without its adapters. */
function countOwn(model: Module): number {
  const own = [...model.namedParameters()].filter(([name]) => !name.includes(".lora_"));
  return own.reduce((sum, [, { shape }]) => sum + sizeOf(shape), 0);
}

interface AdaptedWeight {
  readonly name: string;
  readonly shape: readonly number[];
}

/** The weights that have an adapter. */
function adaptedWeights(model: Module): AdaptedWeight[] {
  return [...model.namedModules()].flatMap(([path, module]) =>
    isLoraLayer(module) ? [{ name: `${path}.weight`, shape: module.base_layer.weight.shape }] : [],
  );
}

const rankOf = ({ shape }: AdaptedWeight): number => Math.min(...shape);

/** Throws LowrankError("usage") that names the ranks that an adapted matrix cannot have, and the smallest of these. */
function checkRanks(adapted: readonly AdaptedWeight[], ranks: readonly number[]): void {
  const smallest = adapted.toSorted((a, b) => rankOf(a) - rankOf(b))[0];
  const above = ranks.filter((rank) => smallest && rank > rankOf(smallest));
  if (!smallest || above.length === 0) return;
  throw new LowrankError(
    "usage",
    `ranks: expected at most ${rankOf(smallest)}, the rank of the smallest adapted matrix (${smallest.name}, ` +
      `${smallest.shape.join(" x ")}), got ${above.join(", ")}. Leave out what is above, or that matrix (excludeModules).`,
  );
}

function nothingToMeasure({ validationSplit }: TrainOptions): LowrankError {
  return new LowrankError(
    "usage",
    validationSplit === 0
      ? "validationSplit: with 0 and without test data there is nothing to compare by. Hold a part out, or pass testData."
      : "data: no example could be held out, so that there is nothing to compare by. Pass validationData or testData.",
  );
}

/** Also finds out whether the device works. */
async function engineVersion({ device, threads }: Configuration): Promise<string> {
  const engine = await Engine.start({ device, threads } as Pick<
    TrainOptions,
    "device" | "threads"
  >);
  await engine.close();
  return engine.version;
}

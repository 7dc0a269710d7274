/**
 * @file What a comparison is made with, found out and checked before anything is trained: model, data and options are read as
 * training reads them, so that what would stop a trial stops the comparison first.
 */
import { availableParallelism, cpus, totalmem } from "node:os";
import { LowrankError } from "../errors.ts";
import { isLoraLayer } from "../lora/layers.ts";
import type { Module } from "../nn/module.ts";
import { countParameters } from "../nn/module.ts";
import { Engine } from "../runtime/engine.ts";
import { toTable } from "../train/data.ts";
import type { TrainOptions, TrainOptionsInput } from "../train/options.ts";
import { prepare, type Prepared } from "../train/prepare.ts";
import { libraryVersion } from "../version.ts";
import { optionsOf, variantsOf, type PlanOptions } from "./compare.ts";
import type { Configuration } from "./space.ts";

/** What the report says of how its numbers came about. */
export interface Setting extends PlanOptions {
  readonly modelType: string;
  readonly parameters: number;
  readonly task: string;
  /** The metric by which a trial's best step is kept, and which the plots show. */
  readonly metric: string;
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
  /** Trials that ran beside each other. */
  readonly parallel: number;
}

export interface SettingOptions extends PlanOptions {
  readonly parallel: number;
  readonly testData?: string | undefined;
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
  for (const { base } of prepared) checkRanks(base.model, options.ranks);
  const [first] = prepared as [Prepared, ...Prepared[]];
  const { base, task, train, validation, options: resolved } = first;
  const test =
    testData === undefined
      ? undefined
      : task.readExamples(await toTable(testData), base.encoder, resolved);
  if (!test && validation.length === 0) throw nothingToMeasure(resolved);
  const { methods, ranks, learningRates } = options;
  return {
    setting: {
      methods,
      ranks,
      seeds,
      learningRates,
      base: options.base,
      modelType: base.family.modelType,
      parameters: countParameters(base.model, {}),
      task: task.name,
      metric: resolved.bestMetric ?? task.bestMetric,
      examples: {
        train: train.length,
        validation: validation.length,
        ...(test ? { test: test.examples.length } : {}),
      },
      ...(testData === undefined ? {} : { testData }),
      maxLength: base.encoder.maxLength,
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
    warnings: [...first.warnings, ...(test?.warnings ?? [])],
  };
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

/** Throws LowrankError("usage") that names the ranks that an adapted matrix cannot have, and the smallest of these. */
function checkRanks(model: Module, ranks: readonly number[]): void {
  const shapes = [...model.namedModules()]
    .filter(([, module]) => isLoraLayer(module))
    .map(([path, module]) => {
      const { base_layer: base } = module as unknown as { base_layer: Module };
      const weight = base.ownParameters().find(([name]) => name === "weight")![1];
      return { path, shape: weight.shape, limit: Math.min(...weight.shape) };
    });
  const smallest = shapes.toSorted((a, b) => a.limit - b.limit)[0];
  const above = ranks.filter((rank) => smallest && rank > smallest.limit);
  if (!smallest || above.length === 0) return;
  throw new LowrankError(
    "usage",
    `ranks: expected at most ${smallest.limit}, the rank of the smallest adapted matrix (${smallest.path}, ` +
      `${smallest.shape.join(" x ")}), got ${above.join(", ")}. Leave out what is above, or that matrix (--exclude-modules).`,
  );
}

function nothingToMeasure({ validationSplit }: TrainOptions): LowrankError {
  return new LowrankError(
    "usage",
    validationSplit === 0
      ? "validationSplit: with 0 and without test data there is nothing to compare by. Hold a part out, or pass --test-data."
      : "data: no example could be held out, so that there is nothing to compare by. Pass --validation-data or --test-data.",
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

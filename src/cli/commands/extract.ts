/** @file lowrank extract: a LoRA adapter that approximates what was trained. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { trainedKind } from "../../delta/changes.ts";
import { extractLora, type ExtractReport } from "../../delta/extract.ts";
import { readDelta } from "../../delta/format.ts";
import { LowrankError } from "../../errors.ts";
import { loraConfigSchema } from "../../lora/config.ts";
import { readAdapterConfig } from "../../lora/peft-format.ts";
import { columnOptions, type Columns } from "../../tasks/options.ts";
import type { Metrics } from "../../tasks/task.ts";
import { describeTask } from "../../train/describe.ts";
import { findBaseModel, MANIFEST_FILE, readManifest } from "../../train/manifest.ts";
import { Predictor, type PredictorOptions } from "../../train/predict.ts";
import { defineCommand } from "../command.ts";
import { alignRows, formatBytes, note, print, printJson } from "../terminal.ts";
import {
  adapterFlags,
  columnPlaceholders,
  noteWarnings,
  refuseColumns,
  splitColumns,
} from "./adapter-flags.ts";
import {
  checkRankFlags,
  matrixProgress,
  matrixRows,
  rankFlags,
  summaryOf,
} from "./approximation.ts";

const { rank, energy, output, ...otherFlags } = rankFlags;
const { batchSize, maxLength, device, threads } = adapterFlags;

const schema = z.strictObject({
  from: z
    .string()
    .min(1)
    .describe("Directory of a stored change, a fine-tuned model, or an adapter"),
  base: z
    .string()
    .min(1)
    .optional()
    .describe("Directory of the model that it was trained from; default: the one that it names"),
  rank,
  energy,
  output,
  targetModules: loraConfigSchema.shape.targetModules.describe(
    "Names of the modules to approximate; default: all that changed",
  ),
  data: z
    .string()
    .min(1)
    .optional()
    .describe("Labelled data on which both are evaluated: what was trained, and its approximation"),
  ...columnOptions,
  batchSize,
  maxLength,
  device,
  threads,
  ...otherFlags,
});

export const extract = defineCommand({
  description:
    "Approximate the change that training made to a model by a LoRA adapter: the closest matrices of a rank (truncated " +
    "singular value decomposition). Heads, biases and norms that changed are stored whole.",
  schema,
  flags: { rank: "-r, --rank", output: "-o, --output" },
  aliases: { model: "base" },
  groups: {
    Evaluation: [
      "data",
      ...Object.keys(columnOptions),
      "batchSize",
      "maxLength",
      "device",
      "threads",
    ],
  },
  placeholders: { ...columnPlaceholders, from: "dir", base: "dir", output: "dir", data: "file" },
  examples: [
    "lowrank extract --from reviews-delta --base path/to/model --rank 8 --output reviews-adapter",
    "lowrank extract --from reviews-model --base path/to/model --energy 0.95 --output reviews-adapter --data test.csv",
  ],
  async run(flags) {
    const { columns, rest } = splitColumns(flags);
    const { data, json, batchSize, maxLength, device, threads, ...options } = rest;
    checkRankFlags(options);
    if (data === undefined)
      refuseColumns(columns, "only a table has columns: pass one with --data");
    const use = { batchSize, maxLength, device, threads };
    await withBaseFlag(async () => {
      const base = await findBase(options.from, options.base);
      const evaluate = (directory: string): Promise<Metrics | undefined> =>
        data === undefined
          ? Promise.resolve(undefined)
          : metricsOf(directory, data, { columns, base, use, isNoted: directory === options.from });
      const before = await evaluate(options.from);
      const report = await extractShown({ ...options, base });
      const after = await evaluate(options.output);
      const metrics = before && after && { data, before: before.scalars, after: after.scalars };
      if (json) printJson({ ...report, ...(metrics ? { metrics } : {}) });
      else print([textOf(report), ...(metrics ? [metricsText(metrics)] : [])].join("\n\n"));
    });
  },
});

/** Errors of the library say how other commands name the base model. */
async function withBaseFlag(run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!(error instanceof LowrankError)) throw error;
    const message = error.message.replaceAll("--model", "--base");
    throw new LowrankError(error.code, message, { cause: error });
  }
}

/** The base's directory: what was asked for, or what lowrank.json or the change names. */
async function findBase(from: string, asked: string | undefined): Promise<string> {
  const kind = trainedKind(from);
  const manifest = await readManifest(from);
  if (asked === undefined && kind === "model" && !manifest) {
    throw new LowrankError(
      "usage",
      `--base is missing: ${from} does not say from which model it was trained. Pass that model's directory.`,
    );
  }
  const named = {
    delta: async () => (await readDelta(from)).config.base_model_name_or_path ?? undefined,
    adapter: async () => (await readAdapterConfig(from)).baseModel,
    model: () => Promise.resolve(undefined),
  };
  return findBaseModel(from, {
    asked,
    manifest,
    fromConfig: asked === undefined ? await named[kind]() : undefined,
  });
}

async function extractShown(options: Parameters<typeof extractLora>[0]): Promise<ExtractReport> {
  const { onMatrix, clear } = matrixProgress(process.stderr);
  try {
    const report = await extractLora({
      ...options,
      onMatrix,
      addFiles: async (path, { kind, base, taskType, directory: from }) => {
        const isDescribed = existsSync(join(path, MANIFEST_FILE));
        if (kind !== "model" || taskType === null || isDescribed) return;
        await describeTask(path, { from, base, target: options.output });
      },
    });
    clear();
    for (const warning of report.warnings) note(`warning: ${warning}`);
    return report;
  } finally {
    clear();
  }
}

interface Evaluation {
  readonly columns: Columns;
  readonly base: string;
  readonly use: PredictorOptions;
  /** Whether to say what the user should know of the data: once for both evaluations. */
  readonly isNoted: boolean;
}

async function metricsOf(
  directory: string,
  data: string,
  { columns, base, use, isNoted }: Evaluation,
): Promise<Metrics> {
  // A whole model needs no base.
  const model = trainedKind(directory) === "model" ? {} : { model: base };
  const predictor = await Predictor.load(directory, { ...use, ...model });
  try {
    const metrics = await predictor.evaluate(data, columns);
    if (isNoted) noteWarnings(predictor);
    return metrics;
  } finally {
    await predictor.close();
  }
}

const KINDS = {
  delta: "stored change",
  model: "fine-tuned model",
  adapter: "original adapter",
} as const;

function textOf(report: ExtractReport): string {
  const { output, kind, from, base, matrices, whole, energyKept, storedBytes } = report;
  const names = whole.slice(0, 3).map(({ name }) => name);
  const rows = [
    ["adapter", `${output} (${formatBytes(storedBytes.after)})`],
    [KINDS[kind], `${from} (${formatBytes(storedBytes.before)})`],
    ["base", base],
    ["matrices", summaryOf(matrices, energyKept)],
    [
      "whole",
      whole.length === 0
        ? "nothing"
        : `${whole.length} ${whole.length === 1 ? "tensor" : "tensors"}: ${names.join(", ")}${whole.length > 3 ? ", …" : ""}`,
    ],
  ];
  return `${alignRows(matrixRows(matrices))}\n\n${alignRows(rows)}`;
}

interface BothMetrics {
  readonly before: Metrics["scalars"];
  readonly after: Metrics["scalars"];
}

function metricsText({ before, after }: BothMetrics): string {
  return alignRows([
    ["metric", "trained", "approximated"],
    ...Object.keys(before).map((name) => [name, before[name]!, after[name]!]),
  ]);
}

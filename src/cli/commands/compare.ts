/** @file lowrank compare: full fine-tuning against LoRA of several ranks, with a table and a report. */
import { join } from "node:path";
import { z } from "zod";
import { LowrankError } from "../../errors.ts";
import { givenOptions } from "../../experiments/claim.ts";
import { METHODS, planTrials, runComparison } from "../../experiments/compare.ts";
import { collect, type Comparison } from "../../experiments/comparison.ts";
import { reportOf } from "../../experiments/report/report.ts";
import { mainTable, resultsCsv, trialsCsv } from "../../experiments/report/tables.ts";
import { settingOf, type Setting } from "../../experiments/setting.ts";
import { trainedSpectra } from "../../experiments/spectra.ts";
import { writeFileAtomic } from "../../io/files.ts";
import { trainOptions } from "../../train/options.ts";
import { columnOptions } from "../../tasks/options.ts";
import { defineCommand } from "../command.ts";
import { onInterrupt } from "../interrupt.ts";
import { kebabCase } from "../options.ts";
import { alignRows, note, print, printJson } from "../terminal.ts";
import { train } from "./train.ts";
import { thisProgram, TRIALS_INTERRUPTED, trialProgress, trialShape } from "./trial-flags.ts";

const compareShape = {
  output: z.string().min(1).describe("Directory for the trials, the results and the report"),
  methods: z
    .array(z.enum(METHODS))
    .min(1)
    .default([...METHODS])
    .describe("What to compare: full fine-tuning, LoRA; default: both"),
  ranks: z
    .array(z.number().int().positive())
    .min(1)
    .default([1, 2, 4, 8, 16, 32])
    .describe("Ranks of LoRA; default: 1,2,4,8,16,32"),
  seeds: z.number().int().positive().default(3).describe("Runs of each, with seeds from --seed on"),
  fullLearningRate: z
    .number()
    .positive()
    .optional()
    .describe("Highest learning rate of full fine-tuning; default: a tenth of --learning-rate"),
  testData: z
    .string()
    .min(1)
    .optional()
    .describe("Data that all are measured on at the end; default: the validation data"),
  metric: z
    .string()
    .optional()
    .describe("Metric of the plots; default: the accuracy, or the task's own where it has none"),
  parallel: z.number().int().positive().default(1).describe("Trials at a time"),
  quiet: z.boolean().default(false).describe("Show no progress"),
  json: z.boolean().default(false).describe("Print the result as one JSON document"),
} as const;

const { r: _r, method: _method, save: _save, ...sharedShape } = trialShape;

const schema = z.strictObject({ ...compareShape, ...sharedShape });
type CompareFlags = z.output<typeof schema>;

/** Where full fine-tuning's learning rate comes from, unless it is given: it changes every weight itself, LoRA's products have to
 * grow from zero. */
const FULL_LEARNING_RATE_SHARE = 0.1;

const { r: _rank, ...trainFlags } = train.flags ?? {};

export const compare = defineCommand({
  description:
    "Fine-tune a model in full and with LoRA of several ranks, several times each, and write a table and a report with plots: " +
    "what each reaches, costs and stores, and how many ranks the change of the weights has. Every trial is a process of its own, " +
    "in a directory of its own; a comparison that was interrupted goes on when the same command is given again.",
  schema,
  flags: { ...trainFlags, output: "-o, --output" },
  placeholders: {
    ...train.placeholders,
    output: "dir",
    methods: "names",
    ranks: "numbers",
    testData: "file",
    metric: "name",
  },
  ...(train.aliases ? { aliases: train.aliases } : {}),
  groups: { Comparison: Object.keys(compareShape), ...train.groups },
  missing: {
    ...train.missing,
    output:
      "--output is missing: the directory for the trials and the report, for instance --output comparison.",
  },
  examples: [
    "lowrank compare --model path/to/model --data reviews.csv --output comparison",
    "lowrank compare --model path/to/model --data train.csv --test-data test.csv --output comparison \\\n" +
      "  --methods full,lora --ranks 1,4,16 --seeds 5 --learning-rate 1e-3 --full-learning-rate 5e-5",
  ],
  notes: [
    "Written to the directory: report.html, results.json, results.csv (a row for each method), trials.csv (a row for each trial), and\n" +
      "a directory for each trial. One that failed is named in all of them; remove its directory to try it again.",
  ],
  async run(flags) {
    const interrupt = onInterrupt(TRIALS_INTERRUPTED);
    try {
      const { json, output } = flags;
      const { comparison, setting } = await compareAll(flags, interrupt.signal);
      if (json) printJson({ setting, ...comparison });
      else print(summary(comparison, setting, output));
      if (comparison.rows.every(({ failed, trials }) => failed === trials)) {
        throw new LowrankError("training", `${output}: every trial failed.`);
      }
    } finally {
      interrupt.stop();
    }
  },
});

async function compareAll(
  flags: CompareFlags,
  signal: AbortSignal,
): Promise<{ comparison: Comparison; setting: Setting }> {
  const { methods, ranks, seeds, fullLearningRate, testData, metric, parallel, ...others } = flags;
  const { output: directory, quiet, json: _json, ...base } = others;
  const { learningRate: lora = trainOptions({ model: base.model, data: base.data }).learningRate } =
    base;
  const full = fullLearningRate ?? Number((FULL_LEARNING_RATE_SHARE * lora).toPrecision(6));
  const plan = {
    methods: METHODS.filter((method) => methods.includes(method)),
    ranks: [...new Set(ranks)].sort((a, b) => a - b),
    seeds: Array.from({ length: seeds }, (_, index) => base.seed + index),
    base: givenOptions(base),
    learningRates: { full, lora },
  };
  const { setting, warnings } = await settingOf({ ...plan, testData, metric, parallel });
  for (const warning of warnings) note(`warning: ${warning}`);
  const trials = await runComparison({
    ...plan,
    directory,
    program: thisProgram(),
    testArguments: testData === undefined ? undefined : testArguments(testData, flags),
    spectraOf: (trained) => trainedSpectra(trained, base.model, setting.matrices),
    parallel,
    signal,
    ...(quiet ? {} : trialProgress(setting.metric, planTrials(plan).length)),
  });
  const comparison = await collect(directory, trials);
  const results = { setting, ...comparison, trials };
  const files = {
    "results.json": `${JSON.stringify(results, null, 2)}\n`,
    "results.csv": resultsCsv(comparison, setting.metric),
    "trials.csv": trialsCsv(trials),
    "report.html": reportOf(comparison, setting),
  };
  for (const [name, text] of Object.entries(files)) {
    await writeFileAtomic(join(directory, name), text);
  }
  return { comparison, setting };
}

/** Flags of `lowrank evaluate` for the test data: their columns are called as those of the training data. */
function testArguments(testData: string, flags: CompareFlags): string[] {
  const columns = Object.keys(columnOptions).flatMap((key) => {
    const value = flags[key as keyof typeof columnOptions];
    return value === undefined ? [] : [`--${kebabCase(key)}`, value];
  });
  const { device, threads, batchSize } = flags;
  const computing = { device, threads, "batch-size": batchSize };
  const others = Object.entries(computing).flatMap(([key, value]) => [`--${key}`, String(value)]);
  return ["--data", testData, ...columns, ...others];
}

function summary(comparison: Comparison, setting: Setting, output: string): string {
  const { columns, rows } = mainTable(comparison, setting.metric);
  const { seeds, examples } = setting;
  const measured =
    examples.test === undefined
      ? `${examples.validation} validation examples`
      : `${examples.test} test examples`;
  const spread =
    seeds.length > 1 ? `mean ± sample standard deviation of ${seeds.length} seeds` : "one seed";
  const failed = comparison.failures.map(({ id, error }) => `${id} failed: ${error}`);
  return [
    `${setting.metric} and others on ${measured}, ${spread}:`,
    "",
    alignRows([columns, ...rows], "  "),
    ...(failed.length > 0 ? ["", ...failed] : []),
    "",
    `Report:  ${join(output, "report.html")}`,
  ].join("\n");
}

/** @file lowrank compare: full fine-tuning against LoRA of several ranks, with a table and a report. */
import { join } from "node:path";
import { z } from "zod";
import { LowrankError } from "../../errors.ts";
import { compare as runCompare } from "../../experiments/compare.ts";
import type { Comparison } from "../../experiments/comparison.ts";
import { METHODS } from "../../experiments/plan.ts";
import { mainTable } from "../../experiments/report/tables.ts";
import type { Setting } from "../../experiments/setting.ts";
import { defineCommand } from "../command.ts";
import { onInterrupt } from "../interrupt.ts";
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
  config: z
    .string()
    .optional()
    .describe("YAML or JSON file with any of these options; flags come before it"),
  quiet: z.boolean().default(false).describe("Show no progress"),
  json: z.boolean().default(false).describe("Print the result as one JSON document"),
} as const;

const { r: _r, method: _method, save: _save, ...sharedShape } = trialShape;

const schema = z.strictObject({ ...compareShape, ...sharedShape });

const { r: _rank, ...trainFlags } = train.flags ?? {};

export const compare = defineCommand({
  description:
    "Fine-tune a model in full and with LoRA of several ranks, several times each, and write a table and a report with plots: " +
    "what each reaches, costs and stores, and how many ranks the change of the weights has. Every trial is a process of its own, " +
    "in a directory of its own; a comparison that was interrupted goes on when the same command is given again, and one that is " +
    "finished takes further methods, ranks and seeds.",
  schema,
  flags: { ...trainFlags, output: "-o, --output", config: "-c, --config" },
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
    const { config: _config, output, json, quiet, ...rest } = flags;
    const { methods, ranks, seeds, fullLearningRate, testData, metric, parallel, ...training } =
      rest;
    const interrupt = onInterrupt(TRIALS_INTERRUPTED);
    try {
      const { setting, comparison } = await runCompare({
        directory: output,
        training,
        methods,
        ranks,
        seeds,
        fullLearningRate,
        testData,
        metric,
        parallel,
        program: thisProgram(),
        signal: interrupt.signal,
        onReady({ setting: ready, warnings, trials }) {
          for (const warning of warnings) note(`warning: ${warning}`);
          return quiet ? {} : trialProgress(ready.metric, trials);
        },
      });
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

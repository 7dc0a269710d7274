/** @file lowrank sweep: trains with many combinations of options and ranks them. */
import { join } from "node:path";
import { z } from "zod";
import { LowrankError } from "../../errors.ts";
import { givenOptions } from "../../experiments/claim.ts";
import { parseChoice, type Choice, type Space } from "../../experiments/space.ts";
import { sweep as runSweep } from "../../experiments/sweep.ts";
import { BEST_FILE, STRATEGIES, type SweepResult } from "../../experiments/swept-trials.ts";
import { plural } from "../../format.ts";
import { formatSeconds } from "../../train/listeners/lines.ts";
import { defineCommand } from "../command.ts";
import { onInterrupt } from "../interrupt.ts";
import { findKey, optionsOf } from "../options.ts";
import {
  alignRows,
  formatBytes,
  formatCount,
  note,
  print,
  printJson,
  shellWord,
} from "../terminal.ts";
import { expectation, parseValue, show } from "../values.ts";
import { train } from "./train.ts";
import { thisProgram, TRIALS_INTERRUPTED, trialProgress, trialShape } from "./trial-flags.ts";

const trainFlags = train.schema.shape;

const sweepShape = {
  output: z.string().min(1).describe("Directory for the trials and the result"),
  try: z
    .array(z.string())
    .min(1)
    .describe("An option with values or a range: learning-rate=1e-4,1e-3 or 1e-5..1e-2")
    .meta({ repeatable: true }),
  strategy: z
    .enum(STRATEGIES)
    .default("grid")
    .describe(
      "grid: all combinations; random; halving: random, more epochs (or steps) for the better ones",
    ),
  trials: z
    .number()
    .int()
    .positive()
    .default(9)
    .describe("Configurations to draw where the strategy is not grid"),
  metric: z.string().default("loss").describe("Validation metric to choose by"),
  parallel: z.number().int().positive().default(1).describe("Trials at a time"),
  config: trainFlags.config,
  quiet: z.boolean().default(false).describe("Show no progress"),
  json: z.boolean().default(false).describe("Print the result as one JSON document"),
} as const;

const schema = z.strictObject({ ...sweepShape, ...trialShape });

export const sweep = defineCommand({
  description:
    "Search the options of training that do best on the validation data. Every trial is a process of its own, in " +
    "a directory of its own; a sweep that was interrupted goes on when the same command is given again.",
  schema,
  ...(train.flags ? { flags: train.flags } : {}),
  placeholders: { ...train.placeholders, try: "option=values", output: "dir", metric: "name" },
  ...(train.aliases ? { aliases: train.aliases } : {}),
  groups: { Sweep: Object.keys(sweepShape), ...train.groups },
  missing: {
    ...train.missing,
    output: "--output is missing: the directory for the trials, for instance --output sweep.",
    try: "--try is missing: what to vary, for instance --try learning-rate=1e-4,5e-4,2e-3 --try rank=4,16.",
  },
  examples: [
    "lowrank sweep --model path/to/model --data reviews.csv --output sweep --try learning-rate=1e-4,5e-4,2e-3 --try rank=4,16",
    "lowrank sweep --model path/to/model --data reviews.csv --output sweep --strategy halving --trials 27 \\\n" +
      '  --try learning-rate=1e-5..1e-2 --try "target-modules=query;value,all-linear"',
  ],
  notes: [
    "Values are separated by commas; a value that is a list itself has semicolons: target-modules=query;value,all-linear.\n" +
      "The best options are written to best.json: lowrank train --config sweep/best.json --output adapter.",
  ],
  async run(flags) {
    const { json, quiet, output, try: tries, strategy, trials, metric, parallel, ...rest } = flags;
    const { config: _config, ...base } = rest;
    const space = spaceOf(tries);
    const interrupt = onInterrupt(TRIALS_INTERRUPTED);
    try {
      const result = await runSweep({
        directory: output,
        command: [...thisProgram(), "train"],
        strategy,
        space,
        base: givenOptions(base),
        count: trials,
        seed: base.seed,
        metric,
        parallel,
        signal: interrupt.signal,
        onReady({ warnings, trials: planned }) {
          for (const warning of warnings) note(`warning: ${warning}`);
          return quiet ? {} : trialProgress(metric, planned);
        },
      });
      if (json) printJson(result);
      else print(summary(result, output, metric));
      if (!result.best) throw new LowrankError("training", `${output}: every trial failed.`);
    } finally {
      interrupt.stop();
    }
  },
});

const optionByKey = new Map(optionsOf(train).map((option) => [option.key, option]));

/** What every --try says. Throws LowrankError("usage"). */
function spaceOf(tries: readonly string[]): Space {
  const choices = tries.map(choiceOf);
  const keys = choices.map(([key]) => key);
  const twice = keys.find((key, index) => keys.indexOf(key) !== index);
  if (twice !== undefined) {
    const problem = `expected ${flagName(twice)} once, got it ${keys.filter((key) => key === twice).length} times`;
    throw new LowrankError("usage", `--try: ${problem}. Put all of its values into one.`);
  }
  return Object.fromEntries(choices);
}

/** "rank=4,16" → the option and what to try. */
function choiceOf(text: string): [option: string, choice: Choice] {
  const equals = text.indexOf("=");
  const name = text.slice(0, equals).replace(/^--/, "");
  const key = equals < 1 ? undefined : findKey(train, name);
  const option = optionByKey.get(key ?? "");
  if (!option || !(option.key in trialShape)) {
    throw new LowrankError(
      "usage",
      `--try: expected an option of training and its values, like rank=4,16, got "${text}".`,
    );
  }
  const parse = (value: string): unknown => parseValue(value.replaceAll(";", ","), option.schema);
  const choice = parseChoice(text.slice(equals + 1), parse, `--try ${name}`);
  const tried = "values" in choice ? choice.values : [choice.low, choice.high];
  const wrong = tried.find((value) => !trainFlags[option.key]!.safeParse(value).success);
  if (wrong === undefined) return [option.key, choice];
  throw new LowrankError(
    "usage",
    `--try ${name}: expected ${expectation(option.schema)}, got ${show(wrong)}.`,
  );
}

/** An option as it is written after --try. */
const flagName = (key: string): string => optionByKey.get(key)!.flag.slice(2);

/** The trials as a table of what differs between them, and why some failed. */
function summary({ results, trials, best }: SweepResult, output: string, metric: string): string {
  const options = results.map((result) => result.options);
  const varied = Object.keys(options[0] ?? {}).filter(
    (key) => new Set(options.map((one) => JSON.stringify(one[key]))).size > 1,
  );
  const others = Object.keys(results[0]?.metrics ?? {}).filter((name) => name !== metric);
  const rows = results.map(({ id, metrics, error, options: own, seconds, ...result }) => [
    id,
    ...varied.map((key) => [own[key]].flat().join(";")),
    ...(error === undefined
      ? [
          ...[metric, ...others].map((name) => metrics[name]?.toFixed(4) ?? ""),
          formatCount(result.trainableParameters),
          formatBytes(result.storedBytes),
          formatSeconds(seconds),
        ]
      : ["failed"]),
  ]);
  const head = ["trial", ...varied.map(flagName), metric, ...others, "trained", "stored", "time"];
  const counted = `${plural(trials, "trial")}${trials === 1 ? "" : ", the best first"}`;
  const failed = results.flatMap(({ id, error }) =>
    error === undefined ? [] : [`${id} failed: ${error}`],
  );
  const file = shellWord(join(output, BEST_FILE));
  return [
    `${counted}${trials > results.length ? " (of the last round)" : ""}:`,
    "",
    alignRows([head, ...rows], "  "),
    ...(failed.length > 0 ? ["", ...failed] : []),
    ...(best ? ["", `Use the best options:  lowrank train --config ${file} --output adapter`] : []),
  ].join("\n");
}

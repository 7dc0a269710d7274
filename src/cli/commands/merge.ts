/** @file lowrank merge: a full model directory with the adapter merged into the weights. */
import { z } from "zod";
import { buildOutputDirectory } from "../../io/files.ts";
import { applyLora } from "../../lora/apply.ts";
import { headConfig, loadAdapterWeights, openAdapter } from "../../lora/peft-format.ts";
import {
  baseTensors,
  MERGE_DTYPES,
  saveMergedModel,
  type SavedModel,
} from "../../lora/save-merged.ts";
import { trainedKind } from "../../delta/source.ts";
import { LowrankError } from "../../errors.ts";
import { AutoModel, type PretrainedModel } from "../../models/auto.ts";
import { taskOfModel } from "../../models/task-of.ts";
import { openSaved } from "../../train/saved.ts";
import { findAdapter } from "../../train/saved-adapter.ts";
import { defineCommand } from "../command.ts";
import { noteWarnings } from "./adapter-flags.ts";
import { alignRows, formatBytes, formatCount, print, printJson } from "../terminal.ts";

/** Decimal, as Hugging Face counts. */
const UNITS: Readonly<Record<string, number>> = { B: 1, KB: 1e3, MB: 1e6, GB: 1e9 };
const SIZE = /^(\d+(?:\.\d+)?)\s*(B|KB|MB|GB)$/i;

const schema = z.strictObject({
  adapter: z.string().min(1).describe("Directory of the adapter, or of a stored change"),
  output: z.string().min(1).describe("Directory to write the merged model to"),
  model: z
    .string()
    .min(1)
    .optional()
    .describe("Directory of the base model; default: the one that the adapter names"),
  dtype: z
    .enum(MERGE_DTYPES)
    .default("auto")
    .describe("Data type of the weights; auto: each as it is stored in the base model"),
  maxShardSize: z
    .string()
    .refine((size) => bytesOf(size) >= 1)
    .default("5GB")
    .describe("Largest file of weights, e.g. 500MB; larger models get several and an index")
    .meta({ expected: "a size with its unit (B, KB, MB, GB), such as 500MB" }),
  safe: z.boolean().default(false).describe("Refuse merged weights that are not finite"),
  overwrite: z.boolean().default(false).describe("Replace an output directory that exists"),
  json: z.boolean().default(false).describe("Print the result as one JSON document"),
});

export const merge = defineCommand({
  description:
    "Merge an adapter into its base model and write the result as a model directory that needs no adapter: for " +
    "transformers, vLLM, llama.cpp and all else that reads Hugging Face's format. Takes the memory of the largest " +
    "weight, not of the model.",
  schema,
  flags: { output: "-o, --output" },
  placeholders: { adapter: "dir", output: "dir", model: "dir", maxShardSize: "size" },
  examples: [
    "lowrank merge --adapter reviews-adapter --output reviews-model",
    "lowrank merge --adapter reviews-adapter --output reviews-model --dtype bf16 --max-shard-size 2GB --safe",
  ],
  async run({ adapter, output: target, model, overwrite, json, ...options }) {
    const source = await opened(adapter, model);
    const base = source.base.directory;
    const saved = await buildOutputDirectory(
      target,
      { overwrite, inputs: [adapter, base] },
      ({ path }) => mergeInto(path, adapter, source, options),
    );
    const { files, sizeBytes, changed, untied } = saved;
    if (json) {
      printJson({ adapter, model: base, output: target, files, sizeBytes, changed, untied });
    } else {
      print(report(target, base, saved));
    }
  },
});

interface Options {
  readonly dtype: (typeof MERGE_DTYPES)[number];
  readonly maxShardSize: string;
  readonly safe: boolean;
}

async function mergeInto(
  path: string,
  directory: string,
  { base, config, apply }: Opened,
  { dtype, maxShardSize, safe }: Options,
): Promise<SavedModel> {
  const before = baseTensors(base);
  await apply();
  return saveMergedModel(path, base, before, {
    dtype,
    maxShardBytes: bytesOf(maxShardSize),
    safe,
    config,
    tokenizer: directory,
  });
}

interface Opened {
  readonly base: PretrainedModel;
  /** Keys of config.json that the task decides. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly apply: () => Promise<unknown>;
}

/** An adapter or a stored change with its base model. */
async function opened(directory: string, asked: string | undefined): Promise<Opened> {
  const kind = trainedKind(directory);
  if (kind === "model") {
    throw new LowrankError("usage", `${directory}: is a whole model already. Use it as it is.`);
  }
  if (kind === "delta") {
    const saved = await openSaved(directory, asked);
    const { type, modelConfig: config } = await saved.task();
    const options = { task: type, config, newHead: true };
    const base = await AutoModel.fromPretrained(saved.baseModel, options);
    return { base, config, apply: () => saved.apply(base) };
  }
  const found = await findAdapter(directory, asked);
  noteWarnings(found);
  const { config: adapter, manifest, baseModel } = found;
  const { lora } = adapter;
  const config = manifest?.modelConfig ?? headConfig((await openAdapter(directory)).tensors);
  const base = await AutoModel.fromPretrained(baseModel, {
    task: lora.taskType ?? (await taskOfModel(baseModel)),
    config,
    newHead: true,
  });
  const apply = async (): Promise<void> => {
    applyLora(base.model, lora, base.family);
    await loadAdapterWeights(directory, base.model, lora);
  };
  return { base, config, apply };
}

/** 0 for what is no size. */
function bytesOf(size: string): number {
  const [, number = "", unit = ""] = SIZE.exec(size) ?? [];
  return Number(number) * (UNITS[unit.toUpperCase()] ?? 0);
}

function report(output: string, base: string, saved: SavedModel): string {
  const { files, sizeBytes, changed, untied } = saved;
  const rows = [
    [
      "model",
      `${output} (${formatBytes(sizeBytes)} in ${files.length === 1 ? "one file" : `${files.length} files`})`,
    ],
    ["base", base],
    ["changed", `${formatCount(changed)} ${changed === 1 ? "tensor" : "tensors"}`],
    ...(untied.length === 0
      ? []
      : [
          [
            "untied",
            `${untied.join(", ")}: the base shares it with the embedding, the adapter changes one of them`,
          ],
        ]),
  ];
  return alignRows(rows);
}

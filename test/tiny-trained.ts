/** @file Tiny models as they are after training, without any: every tensor of a base changed by random numbers, stored as a
 * change, or as a whole model; and random adapters. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeDelta, type ChangedTensor } from "../src/delta/format.ts";
import { sizeOf } from "../src/graph/shape.ts";
import { writeSafetensors } from "../src/io/safetensors.ts";
import { applyLora } from "../src/lora/apply.ts";
import { loraConfig, type LoraOptions } from "../src/lora/config.ts";
import { saveAdapter } from "../src/lora/peft-format.ts";
import { AutoModel } from "../src/models/auto.ts";
import type { TaskType } from "../src/models/family.ts";
import { randomGenerator } from "../src/random.ts";

export type Tensors = Map<
  string,
  { shape: readonly number[]; before?: Float32Array; after: Float32Array }
>;

export interface TrainedOptions {
  readonly task?: TaskType;
  /** Which tensors change; default all. The head, which the base lacks, always does. */
  readonly changes?: (name: string) => boolean;
  /** Keys that replace those of the base's config.json. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Changes values in place after they were changed at random. */
  readonly adjust?: (name: string, values: Float32Array) => void;
}

/** Every tensor of a base model before and after "training": random numbers of standard deviation 0.01 are added. */
export async function trainedTensors(base: string, options: TrainedOptions = {}): Promise<Tensors> {
  const { task = "SEQ_CLS", changes = () => true, adjust = () => {}, config = {} } = options;
  const { model, newParameters } = await AutoModel.fromPretrained(base, { task, config });
  const tensors: Tensors = new Map();
  for (const [name, { shape, values }] of model.namedParameters()) {
    const isNew = newParameters.includes(name);
    const before = await values({ name, shape, seed: 0 });
    const random = randomGenerator(3, "trained", name);
    const isChanged = isNew || changes(name);
    const after = before.map((value) => (isChanged ? value + 0.01 * random.normal() : value));
    adjust(name, after);
    tensors.set(name, { shape, after, ...(isNew ? {} : { before }) });
  }
  return tensors;
}

const IDENTITY = {
  base_model_name_or_path: "base",
  revision: null,
  base_model_type: "bert",
  task_type: "SEQ_CLS",
};

/** Store the change in a new directory; returns the directory. */
export async function writeTrainedDelta(
  directory: string,
  tensors: Tensors,
  taskType: TaskType = "SEQ_CLS",
): Promise<string> {
  mkdirSync(directory, { recursive: true });
  async function* changed(): AsyncGenerator<ChangedTensor> {
    for (const [name, { shape, before, after }] of tensors) {
      yield await Promise.resolve({ name, shape, base: before, changed: after });
    }
  }
  await writeDelta(directory, { ...IDENTITY, task_type: taskType }, "F32", changed());
  return directory;
}

const ARCHITECTURES: Readonly<Record<string, string>> = {
  bert: "BertForSequenceClassification",
  gpt2: "GPT2LMHeadModel",
};

/** Store the whole model in a new directory, with the base's configuration and tokenizer; returns the directory. */
export async function writeTrainedModel(
  directory: string,
  base: string,
  tensors: Tensors,
): Promise<string> {
  mkdirSync(directory, { recursive: true });
  const config = JSON.parse(readFileSync(join(base, "config.json"), "utf8")) as {
    model_type: string;
  };
  const stored = { ...config, architectures: [ARCHITECTURES[config.model_type]] };
  writeFileSync(join(directory, "config.json"), JSON.stringify(stored));
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    copyFileSync(join(base, file), join(directory, file));
  }
  const list = [...tensors].map(([name, { shape, after }]) => ({
    name,
    dtype: "F32" as const,
    shape,
    data: after,
  }));
  await writeSafetensors(join(directory, "model.safetensors"), list, { format: "pt" });
  return directory;
}

/** Store an adapter of random values in a new directory; returns the directory. */
export async function writeRandomAdapter(
  directory: string,
  base: string,
  options: LoraOptions,
): Promise<string> {
  mkdirSync(directory, { recursive: true });
  const lora = loraConfig({ taskType: "SEQ_CLS", ...options });
  const { model, family } = await AutoModel.fromPretrained(base, {
    task: lora.taskType ?? "SEQ_CLS",
  });
  applyLora(model, lora, family);
  const parameters = model.namedParameters();
  await saveAdapter(directory, model, {
    lora,
    baseModel: base,
    values: (path) => {
      const random = randomGenerator(5, "adapter", path);
      const isMagnitude = path.endsWith("lora_magnitude_vector");
      const { shape } = parameters.get(path)!;
      return Promise.resolve(
        Float32Array.from({ length: sizeOf(shape) }, () => 0.1 * random.normal() + +isMagnitude),
      );
    },
  });
  return directory;
}

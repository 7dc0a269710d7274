/** @file Writing an adapter directory: PEFT's files, the tokenizer, lowrank.json and a model card. */
import { copyFile, statfs } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { LowrankError } from "../errors.ts";
import { sizeOf } from "../graph/shape.ts";
import { findNonFinite } from "../io/float16.ts";
import { writeFileAtomic } from "../io/files.ts";
import { ioError } from "../io/io-errors.ts";
import type { LoraConfig } from "../lora/config.ts";
import { adapterParameters, saveAdapter } from "../lora/peft-format.ts";
import type { Module } from "../nn/module.ts";
import type { Task } from "../tasks/task.ts";
import { libraryVersion } from "../version.ts";
import type { Base } from "./base.ts";
import type { TrainResult } from "./events.ts";
import { baseModelEntry, MANIFEST_FILE, type Manifest } from "./manifest.ts";
import { modelCard } from "./model-card.ts";
import type { TrainOptions } from "./options.ts";

export interface AdapterContents {
  readonly base: Base;
  readonly lora: LoraConfig;
  readonly task: Task;
  readonly options: TrainOptions;
  readonly trainExamples: number;
  readonly validationExamples: number;
  /** Absent before training. */
  readonly result?: Omit<TrainResult, "output">;
  /** Reads a parameter's current values. */
  readonly values: (path: string) => Promise<Float32Array>;
}

/**
 * Write everything into `path`, a directory under construction that will be `target`.
 * Throws LowrankError "training" when the adapter holds values that are no numbers, "io" when the disk is
 * full or refuses.
 */
export async function writeAdapterDirectory(
  path: string,
  target: string,
  contents: AdapterContents,
): Promise<void> {
  const { base, lora, options } = contents;
  await saveAdapter(path, base.model, {
    lora,
    baseModel: resolve(options.model),
    values: async (name) => checkFinite(name, await contents.values(name)),
  });
  for (const file of base.tokenizer.files) {
    const copy = join(path, basename(file));
    await copyFile(file, copy).catch((error: unknown) => {
      throw ioError(copy, "copy the tokenizer's file", error);
    });
  }
  const manifest = manifestOf(target, contents);
  await writeFileAtomic(join(path, MANIFEST_FILE), `${JSON.stringify(manifest, null, 2)}\n`);
  await writeFileAtomic(join(path, "README.md"), modelCard(basename(target), contents));
}

function checkFinite(name: string, values: Float32Array): Float32Array {
  const index = findNonFinite(values);
  if (index === -1) return values;
  throw new LowrankError(
    "training",
    `${name}: expected finite numbers to save, got ${values[index]} at element ${index}. ` +
      "Train again with a lower learning rate.",
  );
}

function manifestOf(target: string, contents: AdapterContents): Manifest {
  const { base, task, options, result } = contents;
  return {
    format: 1,
    lowrankVersion: libraryVersion(),
    task: { name: task.name, state: { ...task.state } },
    baseModel: baseModelEntry(options.model, target, base.family.modelType),
    modelConfig: { ...task.modelConfig },
    maxLength: base.encoder.maxLength,
    options: { ...options },
    ...(result ? { result: { ...result, metrics: result.metrics && { ...result.metrics } } } : {}),
  };
}

/** Size of the adapter's weights in a file. */
export function adapterSizeBytes(model: Module, lora: LoraConfig): number {
  let elements = 0;
  for (const { shape } of adapterParameters(model, lora).values()) elements += sizeOf(shape);
  return 4 * elements;
}

/** Room for the small files beside the weights. */
const OTHER_FILES_BYTES = 4 * 2 ** 20;

/** Refuse to train towards a disk that cannot hold the result. Throws LowrankError("io"). */
export async function checkFreeSpace(
  path: string,
  target: string,
  weightBytes: number,
): Promise<void> {
  const stats = await statfs(path).catch(() => undefined);
  if (!stats) return; // Not every file system can tell.
  const free = stats.bavail * stats.bsize;
  const needed = weightBytes + OTHER_FILES_BYTES;
  if (free >= needed) return;
  throw new LowrankError(
    "io",
    `${target}: the adapter needs ${mebibytes(needed)}, the disk has ${mebibytes(free)} left. ` +
      "Free space, or choose another output directory.",
  );
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

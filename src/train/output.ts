/** @file Writing what was trained into a directory: weights, tokenizer, lowrank.json and a model card. */
import { copyFile, statfs } from "node:fs/promises";
import { basename, join } from "node:path";
import { LowrankError } from "../errors.ts";
import { writeFileAtomic, writeJson } from "../io/files.ts";
import { ioError } from "../io/io-errors.ts";
import type { Task } from "../tasks/task.ts";
import { libraryVersion } from "../version.ts";
import type { Base } from "./base.ts";
import type { TrainResult } from "./events.ts";
import { baseModelEntry, MANIFEST_FILE, type Manifest } from "./manifest.ts";
import { modelCard } from "./model-card.ts";
import type { Method, ReadValues } from "./methods/method.ts";
import type { TrainOptions } from "./options.ts";

export interface OutputContents {
  readonly base: Base;
  readonly method: Method;
  readonly task: Task;
  readonly options: TrainOptions;
  readonly trainExamples: number;
  readonly validationExamples: number;
  /** Absent before training. */
  readonly result?: Omit<TrainResult, "output">;
  /** Reads a parameter's current values. */
  readonly values: ReadValues;
}

/**
 * Write everything into `path`, a directory under construction that will be `target`.
 * Throws LowrankError "training" when there are values that are no numbers, "io" when the disk is
 * full or refuses.
 */
export async function writeOutputDirectory(
  path: string,
  target: string,
  contents: OutputContents,
): Promise<void> {
  const { base, method, values } = contents;
  await method.save(path, target, values);
  for (const file of base.tokenizer.files) await copyInto(path, file, "copy the tokenizer's file");
  await writeJson(join(path, MANIFEST_FILE), manifestOf(target, contents));
  await writeFileAtomic(join(path, "README.md"), modelCard(basename(target), contents));
}

/** Copy a file into a directory, under its name. Throws LowrankError("io") that names the copy and says what it is for. */
export async function copyInto(directory: string, file: string, what: string): Promise<void> {
  const copy = join(directory, basename(file));
  await copyFile(file, copy).catch((error: unknown) => {
    throw ioError(copy, what, error);
  });
}

function manifestOf(target: string, contents: OutputContents): Manifest {
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
    `${target}: the result needs ${mebibytes(needed)}, the disk has ${mebibytes(free)} left. ` +
      "Free space, or choose another output directory.",
  );
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

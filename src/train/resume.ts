/** @file Going on with an interrupted run: its options, and whether it is still the same run. */
import { join, resolve } from "node:path";
import { LowrankError } from "../errors.ts";
import { findBaseModel, MANIFEST_FILE, readManifest } from "./manifest.ts";
import type { TrainOptionsInput } from "./options.ts";
import type { Prepared, TrainerOptions } from "./prepare.ts";
import type { TrainingState } from "./training-state.ts";

/** Where things are now, and what is to compute; everything else is as the run began. */
export type ResumeOptions = {
  readonly [Key in "model" | "data" | "validationData" | "device" | "threads"]?:
    | TrainerOptions[Key]
    | undefined;
};

/** The options of the run that left a directory. Throws LowrankError("config"), "usage" where data has to be given again. */
export async function resumedOptions(
  directory: string,
  { sources }: TrainingState,
  changes: ResumeOptions,
): Promise<TrainerOptions> {
  const manifest = await readManifest(directory);
  if (!manifest) {
    throw new LowrankError(
      "config",
      `${join(directory, MANIFEST_FILE)}: expected the options of the run, got no such file. Restore it, or train again.`,
    );
  }
  const options = manifest.options as unknown as TrainOptionsInput;
  const model = findBaseModel(directory, { asked: changes.model, manifest });
  const given = Object.entries(changes).filter(([, value]) => value !== undefined);
  const source = (key: "data" | "validationData") => {
    const found = changes[key] ?? sources[key];
    if (found !== null) return found;
    throw new LowrankError(
      "usage",
      `${key}: the run in ${directory} had rows in memory, which are not stored. Pass them again.`,
    );
  };
  return {
    ...options,
    ...Object.fromEntries(given),
    // As it was named, where that still means the same.
    model: resolve(options.model) === model ? options.model : model,
    data: source("data"),
    ...(options.validationData === undefined ? {} : { validationData: source("validationData") }),
    output: directory,
    overwrite: true,
  };
}

/** Throws LowrankError("data") where the run would go on with other examples than it began with. */
export function checkSame(
  directory: string,
  state: TrainingState,
  { fingerprint, options }: Prepared,
): void {
  if (state.examples === fingerprint()) return;
  const files = [options.data, options.validationData].filter((file) => file !== undefined);
  throw new LowrankError(
    "data",
    `${directory}: expected the data that the run began with, got other examples in ${files.join(" and ")}. ` +
      "Restore the files, say where they are now (data, validationData), or train again.",
  );
}

/** @file lowrank.json for an adapter that was made of a whole model from elsewhere, so that it predicts with that model's labels. */
import { join } from "node:path";
import { writeJson } from "../io/files.ts";
import type { PretrainedModel } from "../models/auto.ts";
import { DEFAULT_MAX_LENGTH } from "../tasks/encoder.ts";
import { libraryVersion } from "../version.ts";
import { baseModelEntry, MANIFEST_FILE, type Manifest } from "./manifest.ts";
import { openSaved } from "./saved.ts";

export interface DescribeOptions {
  /** The whole model that says, in its config.json, what it was trained for. */
  readonly from: string;
  readonly base: PretrainedModel;
  /** Where the directory under construction will be. */
  readonly target: string;
}

/** Write lowrank.json into a directory under construction. */
export async function describeTask(
  path: string,
  { from, base, target }: DescribeOptions,
): Promise<void> {
  const task = await (await openSaved(from)).task();
  const { directory, family, limits } = base;
  const manifest: Manifest = {
    format: 1,
    lowrankVersion: libraryVersion(),
    task: { name: task.name, state: { ...task.state } },
    baseModel: baseModelEntry(directory, target, family.modelType),
    modelConfig: { ...task.modelConfig },
    maxLength: Math.min(limits.maxLength, DEFAULT_MAX_LENGTH),
    options: {},
  };
  await writeJson(join(path, MANIFEST_FILE), manifest);
}

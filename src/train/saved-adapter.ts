/** @file An adapter's directory and its base model, found and checked against each other before either is opened: what all that
 * use an adapter begin with. */
import { join } from "node:path";
import { LowrankError } from "../errors.ts";
import { readModelConfig } from "../io/model-config.ts";
import {
  adaptedPaths,
  openAdapter,
  readAdapterConfig,
  unknownKeysWarning,
  ADAPTER_CONFIG_FILE,
  type AdapterConfig,
} from "../lora/peft-format.ts";
import { familyOf } from "../models/auto.ts";
import type { ModelFamily } from "../models/family.ts";
import { hasModules, modelTypesWith } from "../models/recognise.ts";
import { findBaseModel, readManifest, type Manifest } from "./manifest.ts";

export interface SavedAdapter {
  readonly config: AdapterConfig;
  /** Absent for adapters from elsewhere. */
  readonly manifest: Manifest | undefined;
  /** Directory of the base model. */
  readonly baseModel: string;
  /** What the user should know of the adapter. */
  readonly warnings: readonly string[];
}

/** Read what describes an adapter, and find its base model (`asked`: where the user says that it is). Throws LowrankError; one of
 * them names both types where the base is of another model_type than the adapter. */
export async function findAdapter(directory: string, asked?: string): Promise<SavedAdapter> {
  const config = await readAdapterConfig(directory);
  const manifest = await readManifest(directory);
  const baseModel = findBaseModel(directory, { asked, manifest, fromConfig: config.baseModel });
  await checkModelType(directory, baseModel, (family) =>
    manifest ? [manifest.baseModel.modelType] : typesOfKeys(directory, family),
  );
  const warning = unknownKeysWarning(config, join(directory, ADAPTER_CONFIG_FILE));
  return { config, manifest, baseModel, warnings: warning === undefined ? [] : [warning] };
}

/** Throws LowrankError("config") when a directory is for a model of another type than its base is.
 * @param typesOf what it can be for, given what it is put on; none: nothing tells */
export async function checkModelType(
  directory: string,
  baseModel: string,
  typesOf: (family: ModelFamily) => readonly string[] | Promise<readonly string[]>,
): Promise<void> {
  const family = familyOf(await readModelConfig(baseModel), join(baseModel, "config.json"));
  const own = await typesOf(family);
  const { modelType } = family;
  // Keys that no family has are reported one by one when the adapter is loaded.
  if (own.length === 0 || own.includes(modelType)) return;
  throw new LowrankError(
    "config",
    `${directory}: is for a model of type ${own.join(" or ")}, ${baseModel} is of type ${modelType}. ` +
      "Use the model that the adapter was trained on.",
  );
}

/** The types of models that an adapter's keys fit, the likely one first of all. */
async function typesOfKeys(directory: string, likely: ModelFamily): Promise<string[]> {
  const paths = adaptedPaths((await openAdapter(directory)).tensors.keys());
  return hasModules(likely, paths) ? [likely.modelType] : modelTypesWith(paths);
}

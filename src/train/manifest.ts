/** @file lowrank.json: what an adapter directory needs beside PEFT's files to predict and to say how it
 * came about. */
import { isAbsolute, join, relative, resolve } from "node:path";
import { existsSync } from "node:fs";
import { z } from "zod";
import { LowrankError } from "../errors.ts";
import { readJsonAs } from "../io/files.ts";
import { storedNumber } from "../io/json.ts";
import { ADAPTER_CONFIG_FILE } from "../lora/peft-format.ts";

export const MANIFEST_FILE = "lowrank.json";

export const metricsSchema = z.object({
  scalars: z.record(z.string(), storedNumber),
  details: z.record(z.string(), z.unknown()),
});

const manifestSchema = z.object({
  /** Version of this format. */
  format: z.literal(1),
  /** Version of the library that wrote it. */
  lowrankVersion: z.string(),
  task: z.object({ name: z.string(), state: z.record(z.string(), z.unknown()) }),
  baseModel: z.object({
    /** As the user named it. */
    name: z.string(),
    path: z.string(),
    /** The same from the adapter's directory. */
    relativePath: z.string(),
    modelType: z.string(),
  }),
  /** Keys that the task adds to the base model's configuration: id2label, num_labels, … */
  modelConfig: z.record(z.string(), z.unknown()),
  /** Longest sequence in tokens that it was trained with. */
  maxLength: z.number().int().positive(),
  /** The resolved options of the run. */
  options: z.record(z.string(), z.unknown()),
  result: z
    .object({
      reason: z.string(),
      steps: z.number(),
      epochs: z.number(),
      seconds: z.number(),
      tokens: z.number(),
      trainLoss: z.number().nullable(),
      keptStep: z.number(),
      metrics: metricsSchema.optional(),
    })
    .optional(),
});

export type Manifest = z.infer<typeof manifestSchema>;

/** Read lowrank.json; undefined where there is none. Throws LowrankError("config"). */
export async function readManifest(directory: string): Promise<Manifest | undefined> {
  const file = join(directory, MANIFEST_FILE);
  if (!existsSync(file)) return undefined;
  return readJsonAs(file, "adapter's description", {
    schema: manifestSchema,
    remedy: "Use the version that wrote it, or train the adapter again.",
  });
}

/** How lowrank.json names a base model, seen from the directory that it will be in. */
export function baseModelEntry(
  name: string,
  directory: string,
  modelType: string,
): Manifest["baseModel"] {
  const path = resolve(name);
  return { name, path, relativePath: relative(resolve(directory), path), modelType };
}

/** Places to look for an adapter's base model, the likeliest first. */
export interface BaseModelPlaces {
  readonly asked?: string | undefined;
  readonly manifest?: Manifest | undefined;
  /** base_model_name_or_path of adapter_config.json. */
  readonly fromConfig?: string | undefined;
}

/** The base model's directory. Throws LowrankError("config") that lists where it was looked for. */
export function findBaseModel(directory: string, places: BaseModelPlaces): string {
  const { asked, manifest, fromConfig } = places;
  if (asked !== undefined) return asked;
  const candidates = [
    ...(manifest
      ? [manifest.baseModel.path, resolve(directory, manifest.baseModel.relativePath)]
      : []),
    ...(fromConfig === undefined ? [] : [fromConfig]),
    ...(fromConfig === undefined || isAbsolute(fromConfig) ? [] : [resolve(directory, fromConfig)]),
  ];
  const found = candidates.find((path) => existsSync(join(path, "config.json")));
  if (found !== undefined) return found;
  const tried = [...new Set(candidates)].join(", ");
  throw new LowrankError(
    "config",
    candidates.length === 0
      ? `${join(directory, ADAPTER_CONFIG_FILE)}: names no base model. ` +
          "Pass its directory as `model`."
      : `${directory}: its base model is not found, looked for in ${tried}. ` +
          "Pass its directory as `model`.",
  );
}

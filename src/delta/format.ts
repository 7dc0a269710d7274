/**
 * @file A stored change of a model: `delta.safetensors` holds ΔW of every changed tensor under the tensor's name in the
 * model, `delta_config.json` what it is a change of. It is added to the base when the weights are read.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { LowrankError, requirePath } from "../errors.ts";
import { listFirst } from "../format.ts";
import { readJsonAs, writeJson } from "../io/files.ts";
import { requireFiniteResult } from "../io/finite.ts";
import { narrowed } from "../io/float16.ts";
import {
  readFloat32,
  readHeader,
  readTensor,
  writeSafetensors,
  type TensorToWrite,
} from "../io/safetensors.ts";
import type { SafetensorsHeader } from "../io/safetensors.ts";
import { zeros, type Values } from "../nn/init.ts";
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { applyDifference, difference, type DeltaDtype } from "./difference.ts";

export type { DeltaDtype } from "./difference.ts";

const DELTA_WEIGHTS_FILE = "delta.safetensors";
export const DELTA_CONFIG_FILE = "delta_config.json";

/** Beside a tensor's name: elements that ΔW alone does not give (see difference.ts). */
const EXACT_INDEX = ".exact_index";
const EXACT_VALUE = ".exact_value";

const configSchema = z.object({
  /** Version of this format. */
  format: z.literal(1),
  base_model_name_or_path: z.string().nullable(),
  revision: z.string().nullable(),
  base_model_type: z.string(),
  dtype: z.enum(["F32", "F16", "BF16"]),
  task_type: z.string().nullable(),
  /** SHA-256 of the base's values of every changed tensor, as float32. */
  base_sha256: z.record(z.string(), z.string()),
  /** Tensors that the base does not have, a new head: stored whole. */
  new_tensors: z.array(z.string()),
});

/** delta_config.json. */
export type DeltaConfig = z.infer<typeof configSchema>;

export type DeltaIdentity = Pick<
  DeltaConfig,
  "base_model_name_or_path" | "revision" | "base_model_type" | "task_type"
>;

/** A tensor before and after; `base` absent for one that the base does not have. */
export interface ChangedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly base?: Float32Array | undefined;
  readonly changed: Float32Array;
}

/** Whether a directory holds a stored change. */
export const isDeltaDirectory = (directory: string): boolean =>
  existsSync(join(directory, DELTA_CONFIG_FILE));

/**
 * Write both files into an existing directory. Tensors that did not change are left out.
 * Throws LowrankError "training" when a change holds a number that is none, or when nothing changed at all.
 */
export async function writeDelta(
  directory: string,
  identity: DeltaIdentity,
  dtype: DeltaDtype,
  tensors: AsyncIterable<ChangedTensor>,
): Promise<void> {
  const stored: TensorToWrite[] = [];
  const hashes: Record<string, string> = {};
  const added: string[] = [];
  let changes = false;
  for await (const { name, shape, base, changed } of tensors) {
    requireFiniteResult(name, changed);
    const before = base ?? new Float32Array(changed.length);
    const { delta, exactIndex, exactValue } = difference(before, changed, dtype);
    const isZero = exactIndex.length === 0 && delta.every((value) => value === 0);
    if (base && isZero) continue;
    changes ||= !isZero;
    if (base) hashes[name] = hashOf(base);
    else added.push(name);
    stored.push({ name, dtype, shape, data: narrowed(delta, dtype) });
    if (exactIndex.length === 0) continue;
    const rows = [exactIndex.length];
    stored.push({ name: name + EXACT_INDEX, dtype: "I32", shape: rows, data: exactIndex });
    stored.push({ name: name + EXACT_VALUE, dtype: "F32", shape: rows, data: exactValue });
  }
  if (!changes) {
    throw new LowrankError(
      "training",
      `${directory}: no tensor differs from the base model's, so there is no change to store. Train for more steps, or with a higher learning rate.`,
    );
  }
  const config: DeltaConfig = {
    format: 1,
    ...identity,
    dtype,
    base_sha256: hashes,
    new_tensors: added,
  };
  await writeSafetensors(join(directory, DELTA_WEIGHTS_FILE), stored, { format: "pt" });
  await writeJson(join(directory, DELTA_CONFIG_FILE), config);
}

/** SHA-256 of float32 values, in hexadecimal. */
function hashOf(values: Float32Array): string {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return createHash("sha256").update(bytes).digest("hex");
}

/** A stored change, its tensors not read yet. */
export interface Delta {
  readonly directory: string;
  readonly config: DeltaConfig;
  /** Names of the changed tensors. */
  readonly names: readonly string[];
  readonly header: SafetensorsHeader;
}

/** Read delta_config.json and the header of delta.safetensors. Throws LowrankError "config" or "checkpoint". */
export async function readDelta(directory: string): Promise<Delta> {
  requirePath("readDelta", directory);
  const file = join(directory, DELTA_CONFIG_FILE);
  const config = await readJsonAs(file, "description of the change", {
    schema: configSchema,
    remedy: "Save the change again with this version.",
  });
  const header = await readHeader(join(directory, DELTA_WEIGHTS_FILE));
  const names = [...header.tensors.keys()].filter(
    (name) => !name.endsWith(EXACT_INDEX) && !name.endsWith(EXACT_VALUE),
  );
  return { directory, config, names, header };
}

/**
 * Add a change to a model whose parameters point at its base: their values become W + ΔW when they are read.
 * Throws LowrankError("checkpoint") that lists tensors that the model lacks or has in another shape; a base with other
 * values than the change was made of is found when they are read.
 */
export function applyDelta(model: Module, delta: Delta): void {
  const parameters = model.namedParameters();
  const problems: string[] = [];
  for (const name of delta.names) {
    const { shape } = delta.header.tensors.get(name)!;
    const parameter = parameters.get(name);
    if (!parameter) problems.push(`${name}: the model has no such tensor`);
    else if (parameter.shape.join() !== shape.join()) {
      problems.push(`${name}: expected [${parameter.shape.join(", ")}], got [${shape.join(", ")}]`);
    }
  }
  if (problems.length > 0) {
    throw new LowrankError(
      "checkpoint",
      `${join(delta.directory, DELTA_WEIGHTS_FILE)}: not a change of this model:\n  ` +
        `${listFirst(problems, 10, "\n  ")}\nUse the base model that it was made of.`,
    );
  }
  for (const name of delta.names) changeValues(parameters.get(name)!, name, delta);
}

function changeValues(parameter: Parameter, name: string, delta: Delta): void {
  const before: Values = delta.config.new_tensors.includes(name) ? zeros : parameter.values;
  parameter.values = async (context) => {
    const base = await before(context);
    const expected = delta.config.base_sha256[name];
    if (expected !== undefined && hashOf(base) !== expected) {
      throw new LowrankError(
        "checkpoint",
        `${name}: the base model has other values than the change in ${delta.directory} was made of` +
          `${baseName(delta.config)}. Use that base model.`,
      );
    }
    return applyDifference(base, await readDifference(delta, name));
  };
}

const baseName = ({ base_model_name_or_path: name }: DeltaConfig): string =>
  name === null ? "" : ` (${name})`;

/** ΔW of a tensor. Throws LowrankError("checkpoint") for damaged files. */
async function readDifference({ directory, header }: Delta, name: string) {
  const { tensors } = header;
  const delta = await readFloat32(tensors.get(name)!);
  const [index, value] = [tensors.get(name + EXACT_INDEX), tensors.get(name + EXACT_VALUE)];
  if (!index || !value) {
    return { delta, exactIndex: new Int32Array(0), exactValue: new Float32Array(0) };
  }
  const exactIndex = (await readTensor(index)) as Int32Array;
  const exactValue = await readFloat32(value);
  const inside = exactIndex.every((place) => place >= 0 && place < delta.length);
  if (!inside || exactIndex.length !== exactValue.length) {
    throw new LowrankError(
      "checkpoint",
      `${join(directory, DELTA_WEIGHTS_FILE)}: ${name}: damaged exact values. Save the change again.`,
    );
  }
  return { delta, exactIndex, exactValue };
}

/**
 * @file A base model with an adapter merged in, as a Hugging Face directory: config.json, weights in one file or in shards with an
 * index, tokenizer. Weights are read, merged and written one after the other, so that memory holds one tensor, whatever the model's
 * size. Layout and names: transformers' save_pretrained.
 */
import { copyFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { LowrankError, requireOptions, requirePath } from "../errors.ts";
import { sizeOf } from "../graph/shape.ts";
import { writeJson } from "../io/files.ts";
import { narrowed, type FloatDtype } from "../io/float16.ts";
import { readModelConfig } from "../io/model-config.ts";
import { ioError } from "../io/io-errors.ts";
import {
  readTensor,
  storedBytes,
  writeLazySafetensors,
  type LazyTensor,
  type StoredDtype,
  type TensorInfo,
} from "../io/safetensors.ts";
import type { PretrainedModel } from "../models/auto.ts";
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import type { ReadParameter } from "./host-merge.ts";
import { mergedTensors, mergedValues, untiedTensors, type MergedTensor } from "./merged-tensors.ts";
import { requireFinite } from "./merge.ts";

/** Data types of written weights; auto: each tensor keeps the one that it is stored in. */
export const MERGE_DTYPES = ["auto", "f32", "f16", "bf16"] as const;
export type MergeDtype = (typeof MERGE_DTYPES)[number];

/** As config.json names them. */
const TORCH_DTYPES: Readonly<Record<FloatDtype, string>> = {
  F32: "float32",
  F16: "float16",
  BF16: "bfloat16",
};

export interface SaveMergedOptions {
  readonly dtype: MergeDtype;
  /** A file of weights is at most this large, unless one tensor is larger. */
  readonly maxShardBytes: number;
  /** Refuse weights that are not finite. */
  readonly safe: boolean;
  /** Keys of config.json that the adapter's task decides, e.g. id2label. */
  readonly config: Readonly<Record<string, unknown>>;
  /** A directory whose tokenizer files replace the base's: the adapter's. */
  readonly tokenizer: string;
  /** Reads a parameter's values; default: as the model has them. */
  readonly read?: ReadParameter;
}

export interface SavedModel {
  /** Names of the files of weights. */
  readonly files: readonly string[];
  readonly sizeBytes: number;
  /** Tensors that the adapter changed. */
  readonly changed: number;
  /** Tensors that shared another's values in the base model and are stored apart now. */
  readonly untied: readonly string[];
}

/** What a model has before an adapter is applied to it, which the merged model is compared with. */
export interface BaseTensors {
  readonly parameters: ReadonlyMap<string, Parameter>;
  readonly stored: ReadonlyMap<Parameter, TensorInfo>;
}

/** Take note of a model's parameters before `applyLora`. */
export function baseTensors({ model, stored }: PretrainedModel): BaseTensors {
  const parameters = model.namedParameters();
  const places = [...parameters].flatMap(([name, parameter]) => {
    const info = stored.get(name);
    return info ? [[parameter, info] as const] : [];
  });
  return { parameters, stored: new Map(places) };
}

/** Write the merged model into an existing, empty directory. Throws LowrankError "io" when it cannot be written, "checkpoint" with
 * `safe` for weights that are not finite. */
export async function saveMergedModel(
  directory: string,
  pretrained: PretrainedModel,
  base: BaseTensors,
  options: SaveMergedOptions,
): Promise<SavedModel> {
  requirePath("saveMergedModel", directory);
  requireOptions("saveMergedModel", options);
  const tensors = mergedTensors(pretrained.model);
  const untied = untiedTensors(base.parameters, tensors);
  const usual = usualDtype(base.stored.values());
  const planned = tensors.map((tensor) => plan(tensor, pretrained, base, usual, options));
  const shards = divide(planned, options.maxShardBytes);
  const files = shards.map((_, index) => shardName(index, shards.length));
  for (const [index, shard] of shards.entries()) {
    await writeLazySafetensors(join(directory, files[index]!), shard, { format: "pt" });
  }
  const sizeBytes = planned.reduce((sum, tensor) => sum + storedBytes(tensor), 0);
  if (shards.length > 1) {
    const names = shards.flatMap((shard, i) => shard.map(({ name }) => [name, files[i]!] as const));
    const sorted = names.toSorted(([a], [b]) => (a < b ? -1 : 1));
    await writeJson(join(directory, "model.safetensors.index.json"), {
      metadata: { total_size: sizeBytes },
      weight_map: Object.fromEntries(sorted),
    });
  }
  const dtype = options.dtype === "auto" ? undefined : floatDtype(options.dtype);
  await writeJson(
    join(directory, "config.json"),
    await mergedConfig(pretrained, options.config, { untied: untied.length > 0, dtype }),
  );
  await copyFiles(directory, [pretrained.directory, options.tokenizer]);
  const changed = tensors.filter((tensor) => isChanged(tensor, base)).length;
  return { files, sizeBytes, changed, untied };
}

const floatDtype = (dtype: Exclude<MergeDtype, "auto">): FloatDtype =>
  dtype.toUpperCase() as FloatDtype;

/** The data type that most of the weights are stored in: that of a head that the base lacks. */
function usualDtype(stored: Iterable<TensorInfo>): FloatDtype {
  const counts = new Map<FloatDtype, number>([["F32", 0]]);
  for (const { dtype, shape } of stored) {
    if (dtype in TORCH_DTYPES) {
      const own = dtype as FloatDtype;
      counts.set(own, (counts.get(own) ?? 0) + sizeOf(shape));
    }
  }
  return [...counts].reduce((most, entry) => (entry[1] > most[1] ? entry : most))[0];
}

function isChanged({ parameter, adapter }: MergedTensor, { stored }: BaseTensors): boolean {
  return adapter !== undefined || parameter.requiresGrad || !stored.has(parameter);
}

/** How a tensor is written: as it is stored, where nothing changes it, else rounded once from float32. */
function plan(
  tensor: MergedTensor,
  { model }: PretrainedModel,
  base: BaseTensors,
  usual: FloatDtype,
  options: SaveMergedOptions,
): LazyTensor {
  const { name, parameter } = tensor;
  const { shape } = parameter;
  const info = base.stored.get(parameter) ?? base.stored.get(base.parameters.get(name)!);
  const own: StoredDtype = info && info.dtype in TORCH_DTYPES ? info.dtype : usual;
  const dtype = (options.dtype === "auto" ? own : floatDtype(options.dtype)) as FloatDtype;
  if (info && !isChanged(tensor, base) && info.dtype === dtype) {
    return { name, dtype, shape, data: () => readTensor(info) };
  }
  const { read = rawReader(model) } = options;
  return {
    name,
    dtype,
    shape,
    data: async () => {
      const values = await mergedValues(tensor, read);
      if (options.safe) requireFinite(name, values);
      const result = narrowed(values, dtype);
      if (options.safe) requireInRange(name, result, dtype);
      return result;
    },
  };
}

/** Reads values as they are, finite or not. */
function rawReader(model: Module): ReadParameter {
  const names = new Map([...model.namedParameters()].map(([name, own]) => [own, name]));
  return async (parameter) => {
    const { shape } = parameter;
    return parameter.values({ name: names.get(parameter) ?? "", shape, seed: 0 });
  };
}

/** Finite values may be too large for 16 bits. */
function requireInRange(name: string, values: Float32Array | Uint16Array, dtype: FloatDtype): void {
  if (values instanceof Float32Array) return;
  const exponent = dtype === "F16" ? 0x7c00 : 0x7f80;
  const index = values.findIndex((bits) => (bits & exponent) === exponent);
  if (index === -1) return;
  throw new LowrankError(
    "checkpoint",
    `${name}: element ${index} is too large for ${dtype}. ` +
      "Choose another `dtype`, bf16 or f32.",
  );
}

/** Consecutive tensors, as many as fit. */
function divide(tensors: readonly LazyTensor[], maxBytes: number): LazyTensor[][] {
  const shards: LazyTensor[][] = [[]];
  let size = 0;
  for (const tensor of tensors) {
    const bytes = storedBytes(tensor);
    if (size + bytes > maxBytes && size > 0) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)!.push(tensor);
    size += bytes;
  }
  return shards;
}

function shardName(index: number, count: number): string {
  if (count === 1) return "model.safetensors";
  const [number, all] = [index + 1, count].map((n) => String(n).padStart(5, "0"));
  return `model-${number}-of-${all}.safetensors`;
}

/** The base's config.json with what the adapter's task and the merge change. */
async function mergedConfig(
  { directory, model }: PretrainedModel,
  task: Readonly<Record<string, unknown>>,
  { untied, dtype }: { untied: boolean; dtype: FloatDtype | undefined },
): Promise<Record<string, unknown>> {
  const stored = await readModelConfig(directory);
  const dtypeKey = "torch_dtype" in stored ? "torch_dtype" : "dtype";
  return {
    ...stored,
    ...task,
    ...labelsOf(stored, task),
    architectures: [model.typeName()],
    ...(untied ? { tie_word_embeddings: false } : {}),
    ...(dtype ? { [dtypeKey]: TORCH_DTYPES[dtype] } : {}),
  };
}

/** transformers counts labels by id2label: numbers alone get its default names. */
function labelsOf(
  stored: Readonly<Record<string, unknown>>,
  task: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const count = task["num_labels"];
  const known = (task["id2label"] ?? stored["id2label"]) as Record<string, string> | undefined;
  const fits = known && (typeof count !== "number" || Object.keys(known).length === count);
  if (!fits && typeof count !== "number") return {};
  const labels = fits
    ? Object.entries(known)
    : Array.from({ length: count as number }, (_, i) => [String(i), `LABEL_${i}`] as const);
  return {
    num_labels: undefined,
    id2label: Object.fromEntries(labels),
    label2id: Object.fromEntries(labels.map(([id, label]) => [label, Number(id)])),
  };
}

/** Names of the files that belong to a model beside its weights and their configuration. */
export const COMPANIONS =
  /^(?:tokenizer.*\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(?:json|txt)|merges\.txt|.*\.model|chat_template\.(?:jinja|json)|generation_config\.json)$/;

/** Copy tokenizer and generation settings; later directories replace what earlier ones have. */
async function copyFiles(target: string, sources: readonly string[]): Promise<void> {
  for (const source of sources) {
    try {
      const names = (await readdir(source)).filter((name) => COMPANIONS.test(name));
      for (const name of names) await copyFile(join(source, name), join(target, name));
    } catch (error) {
      throw ioError(source, "copy the tokenizer's files", error);
    }
  }
}

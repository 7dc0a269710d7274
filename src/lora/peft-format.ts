/** @file Adapters as PEFT stores them: adapter_config.json and adapter_model.safetensors.
 * Source: peft 0.21 (get_peft_model_state_dict, LoraConfig.save_pretrained). */
import { join } from "node:path";
import { LowrankError } from "../errors.ts";
import { matchTensors } from "../io/checkpoint.ts";
import { readJson, writeFileAtomic } from "../io/files.ts";
import { readHeader, writeSafetensors } from "../io/safetensors.ts";
import { Conv1D } from "../nn/layers.ts";
import { fromFile } from "../nn/init.ts";
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { isSavedModule, modulesToSave } from "./apply.ts";
import { loraConfig, loraConfigSchema, type LoraConfig, type LoraOptions } from "./config.ts";
import { isLoraLayer, LoraEmbedding } from "./layers.ts";

export const ADAPTER_CONFIG_FILE = "adapter_config.json";
export const ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors";

/** Prefix of every key: PEFT's wrapper (base_model) around its tuner (model). */
const KEY_PREFIX = "base_model.model.";

/** Options of PEFT that are not implemented, with the values that mean "off": the first is written. */
const UNSUPPORTED: Readonly<Record<string, readonly unknown[]>> = {
  alora_invocation_tokens: [null],
  arrow_config: [null],
  corda_config: [null],
  ensure_weight_tying: [false, null],
  eva_config: [null],
  kasa_config: [null],
  layer_replication: [null],
  loftq_config: [null, {}],
  lora_bias: [false, null],
  lora_ga_config: [null],
  megatron_config: [null],
  monteclora_config: [null],
  target_parameters: [null],
  trainable_token_indices: [null],
  use_bdlora: [null, false],
  use_qalora: [false, null],
  velora_config: [null],
};

/** Keys that carry no meaning for the computation. */
const INFORMATIVE: ReadonlySet<string> = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "inference_mode",
  "megatron_core",
  "peft_type",
  "peft_version",
  "qalora_group_size",
  "revision",
]);

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
const camelCase = (name: string): string =>
  name.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase());

export interface AdapterConfig {
  readonly lora: LoraConfig;
  readonly baseModel: string | undefined;
  /** Keys that nothing here knows; PEFT ignores such keys with a warning. */
  readonly unknownKeys: readonly string[];
}

/** Read adapter_config.json of an adapter directory. */
export async function readAdapterConfig(directory: string): Promise<AdapterConfig> {
  const file = join(directory, ADAPTER_CONFIG_FILE);
  const stored = (await readJson(file, "adapter's configuration")) as Record<string, unknown>;
  return parseAdapterConfig(stored, file);
}

/** The same from the parsed file. Throws LowrankError("config"). */
export function parseAdapterConfig(stored: Record<string, unknown>, file: string): AdapterConfig {
  if (stored["peft_type"] !== "LORA") {
    throw new LowrankError(
      "config",
      `${file}: peft_type ${JSON.stringify(stored["peft_type"])} is not supported, expected "LORA".`,
    );
  }
  const unsupported = Object.entries(UNSUPPORTED).filter(
    ([key, off]) =>
      key in stored && !off.some((value) => JSON.stringify(value) === JSON.stringify(stored[key])),
  );
  if (unsupported.length > 0) {
    const list = unsupported.map(([key]) => `${key} = ${JSON.stringify(stored[key])}`);
    throw new LowrankError("config", `${file}: not implemented: ${list.join(", ")}.`);
  }
  const options: Record<string, unknown> = {};
  const unknownKeys: string[] = [];
  for (const [key, value] of Object.entries(stored)) {
    const name = camelCase(key);
    if (snakeCase(name) === key && name in loraConfigSchema.shape) options[name] = value;
    else if (!(key in UNSUPPORTED) && !INFORMATIVE.has(key)) unknownKeys.push(key);
  }
  for (const key of ["rankPattern", "alphaPattern"]) options[key] ??= {};
  const base = stored["base_model_name_or_path"];
  return {
    lora: loraConfig(options as LoraOptions, file),
    baseModel: typeof base === "string" && base !== "" ? base : undefined,
    unknownKeys,
  };
}

/** adapter_config.json as PEFT writes it: all keys, sorted, indented by two spaces. */
export function formatAdapterConfig(
  lora: LoraConfig,
  model: Module,
  baseModel: string | null,
): string {
  const options = Object.fromEntries(
    Object.entries(lora).map(([name, value]) => [snakeCase(name), value]),
  );
  const off = Object.fromEntries(Object.entries(UNSUPPORTED).map(([key, [value]]) => [key, value]));
  const layers = [...model.namedModules()].flatMap(([, m]) => (isLoraLayer(m) ? [m] : []));
  const saved = modulesToSave(lora);
  const stored: Record<string, unknown> = {
    ...off,
    loftq_config: {},
    ...options,
    auto_mapping: null,
    base_model_name_or_path: baseModel,
    fan_in_fan_out: layers.some((layer) => layer.base_layer instanceof Conv1D),
    inference_mode: true,
    megatron_core: "megatron.core",
    modules_to_save: saved.length > 0 ? saved : null,
    peft_type: "LORA",
    qalora_group_size: 16,
    revision: null,
  };
  const sorted = Object.fromEntries(Object.entries(stored).sort(([a], [b]) => (a < b ? -1 : 1)));
  // Python writes a float as one: 0.0.
  return JSON.stringify(sorted, null, 2).replace(/("lora_dropout": \d+)(?=,?$)/m, "$1.0");
}

/** The parameters that an adapter file holds, by their key in it. */
export function adapterParameters(model: Module, lora: LoraConfig): Map<string, Parameter> {
  const saved = modulesToSave(lora);
  const result = new Map<string, Parameter>();
  for (const [path, parameter] of model.namedParameters()) {
    const module = path.slice(0, path.lastIndexOf("."));
    const isSaved = ancestors(module).some((ancestor) => isSavedModule(ancestor, saved));
    const isLora = /(?:^|\.)lora_/.test(path);
    const isBias =
      (lora.bias === "all" && path.endsWith("bias")) ||
      (lora.bias === "lora_only" && path.endsWith(".base_layer.bias"));
    if (isSaved || isLora || isBias) result.set(KEY_PREFIX + path, parameter);
  }
  return result;
}

function ancestors(path: string): string[] {
  const parts = path.split(".");
  return parts.map((_, i) => parts.slice(0, i + 1).join("."));
}

/**
 * Point the parameters of a model, to which the adapter's configuration has been applied, at the
 * adapter's tensors. Throws one LowrankError("checkpoint") with all missing and unexpected keys.
 */
export async function loadAdapterWeights(
  directory: string,
  model: Module,
  lora: LoraConfig,
): Promise<void> {
  const file = join(directory, ADAPTER_WEIGHTS_FILE);
  const header = await readHeader(file);
  const parameters = adapterParameters(model, lora);
  const required = [...parameters].filter(
    // PEFT 0.17 to 0.20 leave the biases of "lora_only" out of the file.
    ([key]) =>
      header.tensors.has(key) || lora.bias !== "lora_only" || !key.endsWith(".base_layer.bias"),
  );
  const { tensors, unexpected } = matchTensors(
    required.map(([name, { shape }]) => ({ name, shape })),
    header,
    { where: file },
  );
  const surplus = unexpected.filter((key) => !isRepeatedBase(key, model));
  if (surplus.length > 0) {
    throw new LowrankError(
      "checkpoint",
      `${file}: unexpected keys: ${surplus.slice(0, 20).join(", ")}` +
        `${surplus.length > 20 ? ` and ${surplus.length - 20} more` : ""}. ` +
        "The adapter belongs to another model, or its adapter_config.json was changed.",
    );
  }
  for (const [key, info] of tensors) parameters.get(key)!.values = fromFile(info);
}

/** PEFT also stores the unchanged weight of an adapted embedding. */
function isRepeatedBase(key: string, model: Module): boolean {
  const suffix = ".base_layer.weight";
  if (!key.endsWith(suffix)) return false;
  const path = key.slice(KEY_PREFIX.length, -suffix.length);
  return [...model.namedModules()].some(([name, m]) => name === path && m instanceof LoraEmbedding);
}

export interface SaveAdapterOptions {
  readonly lora: LoraConfig;
  /** What adapter_config.json names as base. */
  readonly baseModel: string | null;
  /** Reads a parameter's current values. */
  readonly values: (path: string) => Promise<Float32Array>;
}

/** Write both files into an existing directory. */
export async function saveAdapter(
  directory: string,
  model: Module,
  { lora, baseModel, values }: SaveAdapterOptions,
): Promise<void> {
  const tensors = [];
  for (const [name, { shape }] of adapterParameters(model, lora)) {
    const data = await values(name.slice(KEY_PREFIX.length));
    tensors.push({ name, dtype: "F32" as const, shape, data });
  }
  await writeSafetensors(join(directory, ADAPTER_WEIGHTS_FILE), tensors, { format: "pt" });
  await writeFileAtomic(
    join(directory, ADAPTER_CONFIG_FILE),
    formatAdapterConfig(lora, model, baseModel),
  );
}

/** @file adapter_config.json as PEFT writes and reads it. The weights beside it are in peft-format.ts.
 * Source: peft 0.21, LoraConfig.save_pretrained and from_pretrained. */
import { join } from "node:path";
import { LowrankError, requirePath } from "../errors.ts";
import { readJson } from "../io/files.ts";
import { Conv1D } from "../nn/layers.ts";
import type { Module } from "../nn/module.ts";
import { loraConfig, loraConfigSchema, type LoraConfig, type LoraOptions } from "./config.ts";
import { isLoraLayer } from "./layers.ts";
import { modulesToSave } from "./targets.ts";

export const ADAPTER_CONFIG_FILE = "adapter_config.json";

/** Options of PEFT that are not implemented, with the values that mean "off": the first is written. */
const UNSUPPORTED: Readonly<Record<string, readonly unknown[]>> = {
  alora_invocation_tokens: [null],
  arrow_config: [null],
  corda_config: [null],
  eva_config: [null],
  kasa_config: [null],
  layer_replication: [null, []],
  loftq_config: [null, {}],
  lora_bias: [false, null],
  lora_ga_config: [null],
  megatron_config: [null],
  monteclora_config: [null],
  target_parameters: [null, []],
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
  "runtime_config",
]);

/** Initialisations that are over once an adapter is stored: they leave the base as it is. Their options do not matter then. */
const PAST_INITIALISATIONS: Readonly<Record<string, string | undefined>> = {
  eva: "eva_config",
  lora_ga: "lora_ga_config",
  mica: undefined,
  orthogonal: undefined,
};

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
const camelCase = (name: string): string =>
  name.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase());

export interface AdapterConfig {
  readonly lora: LoraConfig;
  readonly baseModel: string | undefined;
  /** Keys that nothing here knows; PEFT ignores such keys with a warning, and so does unknownKeysWarning. */
  readonly unknownKeys: readonly string[];
}

/** Read adapter_config.json of an adapter directory. */
export async function readAdapterConfig(directory: string): Promise<AdapterConfig> {
  requirePath("readAdapterConfig", directory);
  const file = join(directory, ADAPTER_CONFIG_FILE);
  return parseAdapterConfig(await readJson(file, "adapter's configuration"), file);
}

/** The same from the parsed file. Throws LowrankError("config"). */
export function parseAdapterConfig(parsed: unknown, file: string): AdapterConfig {
  const stored = withoutEmptyValues(objectOf(parsed, file));
  const init = stored["init_lora_weights"];
  if (typeof init === "string" && Object.hasOwn(PAST_INITIALISATIONS, init)) {
    stored["init_lora_weights"] = true;
    const options = PAST_INITIALISATIONS[init];
    if (options !== undefined) stored[options] = null;
  }
  checkSupported(stored, file);
  const options: Record<string, unknown> = {};
  const unknownKeys: string[] = [];
  for (const [key, value] of Object.entries(stored)) {
    const name = camelCase(key);
    if (snakeCase(name) === key && Object.hasOwn(loraConfigSchema.shape, name))
      options[name] = value;
    else if (!Object.hasOwn(UNSUPPORTED, key) && !INFORMATIVE.has(key)) unknownKeys.push(key);
  }
  const base = stored["base_model_name_or_path"];
  return {
    lora: loraConfig(options as LoraOptions, file),
    baseModel: typeof base === "string" && base !== "" ? base : undefined,
    unknownKeys,
  };
}

function objectOf(parsed: unknown, file: string): Record<string, unknown> {
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new LowrankError(
      "config",
      `${file}: expected an object with an adapter's options. Check that this is an adapter's configuration.`,
    );
  }
  const stored = parsed as Record<string, unknown>;
  if (stored["peft_type"] === "LORA") return stored;
  throw new LowrankError(
    "config",
    `${file}: peft_type ${JSON.stringify(stored["peft_type"])} is not supported, expected "LORA".`,
  );
}

/** Options that some versions of PEFT write as an empty list or text where others write null. */
const MAY_BE_EMPTY = [
  "exclude_modules",
  "layers_pattern",
  "layers_to_transform",
  "modules_to_save",
  "trainable_token_indices",
];

/** Without null for "none", and without repetitions: PEFT adds the head to modules_to_save on every load. */
function withoutEmptyValues(stored: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const result = { ...stored };
  for (const key of MAY_BE_EMPTY) {
    if (["[]", '""', "{}"].includes(JSON.stringify(result[key]))) result[key] = null;
  }
  for (const key of ["rank_pattern", "alpha_pattern"]) result[key] ??= {};
  for (const key of ["bias", "init_lora_weights", "lora_dropout", "ensure_weight_tying"]) {
    if (result[key] === null) delete result[key];
  }
  const saved = result["modules_to_save"];
  if (Array.isArray(saved)) result["modules_to_save"] = [...new Set<unknown>(saved)];
  return result;
}

function checkSupported(stored: Readonly<Record<string, unknown>>, file: string): void {
  const isOn = ([key, off]: [string, readonly unknown[]]): boolean =>
    key in stored && !off.some((value) => JSON.stringify(value) === JSON.stringify(stored[key]));
  const unsupported = Object.entries(UNSUPPORTED).filter(isOn);
  const init = stored["init_lora_weights"];
  const list = [
    ...unsupported.map(([key]) => `${key} = ${JSON.stringify(stored[key])}`),
    ...(init === "corda" || init === "loftq"
      ? [`init_lora_weights = ${JSON.stringify(init)}`]
      : []),
  ];
  if (list.length === 0) return;
  const remedy =
    "target_parameters" in Object.fromEntries(unsupported)
      ? " Parameters outside of Linear, Conv1D and Embedding modules cannot be adapted: train with target_modules instead."
      : init === "corda" || init === "loftq"
        ? " It changes the base model's weights in a way that only its training data or quantisation tells: convert it to a plain LoRA in PEFT first."
        : "";
  throw new LowrankError("config", `${file}: not implemented: ${list.join(", ")}.${remedy}`);
}

/** What to tell of keys that were ignored; undefined where there are none. `file`: whose they are. */
export function unknownKeysWarning(
  { unknownKeys }: Pick<AdapterConfig, "unknownKeys">,
  file: string = ADAPTER_CONFIG_FILE,
): string | undefined {
  if (unknownKeys.length === 0) return undefined;
  return (
    `${file}: ignored unknown ${unknownKeys.length === 1 ? "option" : "options"} ${unknownKeys.join(", ")}. ` +
    "Another version of PEFT wrote it; results differ if the adapter needs them."
  );
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
  return adapterConfigText(stored);
}

/** The text of adapter_config.json with these keys. */
export function adapterConfigText(stored: Readonly<Record<string, unknown>>): string {
  const sorted = Object.fromEntries(Object.entries(stored).sort(([a], [b]) => (a < b ? -1 : 1)));
  // Python writes a float as one: 0.0.
  return JSON.stringify(sorted, null, 2).replace(/("lora_dropout": \d+)(?=,?$)/m, "$1.0");
}

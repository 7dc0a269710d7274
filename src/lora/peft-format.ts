/** @file An adapter's weights as PEFT stores them: adapter_model.safetensors, or adapter_model.bin by older versions. The
 * configuration beside them is in peft-config.ts.
 * Source: peft 0.21 (get_peft_model_state_dict, set_peft_model_state_dict). */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { LowrankError, requireOptions, requirePath } from "../errors.ts";
import { listFirst } from "../format.ts";
import { writeFileAtomic } from "../io/files.ts";
import { readHeader, writeSafetensors, type TensorInfo } from "../io/safetensors.ts";
import { readTorchFile } from "../io/torch-file.ts";
import { fromFile } from "../nn/init.ts";
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { parentOf } from "../nn/path.ts";
import type { LoraConfig } from "./config.ts";
import { ADAPTER_CONFIG_FILE, formatAdapterConfig } from "./peft-config.ts";
import { isSaved, modulesToSave } from "./targets.ts";

export {
  ADAPTER_CONFIG_FILE,
  formatAdapterConfig,
  parseAdapterConfig,
  readAdapterConfig,
  unknownKeysWarning,
  type AdapterConfig,
} from "./peft-config.ts";

export const ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors";
/** What PEFT wrote before safetensors. */
export const LEGACY_WEIGHTS_FILE = "adapter_model.bin";

/** Prefix of every key: PEFT's wrapper (base_model) around its tuner (model). */
export const KEY_PREFIX = "base_model.model.";

/** Biases that PEFT stores once more with `bias: "all"`: those of modules that are saved whole, under the
 * names that its wrapper gives to what it trains and to what it has taken the place of. */
const REPEATED = /\.(?:modules_to_save|original_module)\..*bias$/;

/** The path before what LoRA puts into a module. */
const ADAPTED = /^base_model\.model\.(.+?)\.(?:lora_|token_adapter\.|trainable_tokens_)/;

/** The parameters that an adapter file holds, by their key in it. */
export function adapterParameters(model: Module, lora: LoraConfig): Map<string, Parameter> {
  const saved = modulesToSave(lora);
  const result = new Map<string, Parameter>();
  for (const [path, parameter] of model.namedParameters()) {
    const module = parentOf(path);
    const isAdapter = /(?:^|\.)(?:lora_|trainable_tokens_delta)/.test(path);
    const isBias =
      (lora.bias === "all" && path.endsWith("bias")) ||
      (lora.bias === "lora_only" && path.endsWith(".base_layer.bias"));
    if (isSaved(module, saved) || isAdapter || isBias || parameter.isStoredWithAdapter)
      result.set(KEY_PREFIX + path, parameter);
  }
  return result;
}

/** The tensors of an adapter directory, by their key. Throws LowrankError("checkpoint"). */
export async function openAdapter(
  directory: string,
): Promise<{ file: string; tensors: Map<string, TensorInfo> }> {
  requirePath("openAdapter", directory);
  const [file, legacy] = [ADAPTER_WEIGHTS_FILE, LEGACY_WEIGHTS_FILE].map((name) =>
    join(directory, name),
  ) as [string, string];
  if (!existsSync(file) && existsSync(legacy)) {
    return { file: legacy, tensors: await readTorchFile(legacy) };
  }
  const { tensors } = await readHeader(file);
  return { file, tensors };
}

/** Paths of the modules that an adapter's keys change. */
export function adaptedPaths(keys: Iterable<string>): string[] {
  const paths = [...keys].flatMap((key) => ADAPTED.exec(key)?.[1] ?? []);
  return [...new Set(paths)];
}

const CLASSIFIER = /(?:^|\.)(?:score|classifier)(?:\.out_proj)?\.weight$/;
const SPAN_HEAD = /(?:^|\.)qa_outputs\.weight$/;

/** Number of outputs of the head that an adapter stores: labels of a classifier, two of spans. undefined where it stores none. */
export function headOutputs(tensors: ReadonlyMap<string, TensorInfo>): number | undefined {
  const head = [...tensors].find(([key]) => CLASSIFIER.test(key) || SPAN_HEAD.test(key));
  return head?.[1].shape[0];
}

/** The number of labels by the classifier that is stored, as config.json has it; nothing where none is. */
export function headConfig(tensors: ReadonlyMap<string, TensorInfo>): Record<string, unknown> {
  const classifier = [...tensors].find(([key]) => CLASSIFIER.test(key));
  return classifier ? { num_labels: classifier[1].shape[0] } : {};
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
  const adapter = await openAdapter(directory);
  const own = adapterParameters(model, lora);
  const base = storedBaseParameters(model, adapter.tensors).filter(([key]) => !own.has(key));
  pointAt(adapter, new Map([...base, ...own]), lora);
  for (const [, parameter] of base) parameter.isStoredWithAdapter = true;
}

/** The same for parameters by their path, apart from a model; weights of the base in the file are passed over. */
export async function loadAdapterParameters(
  directory: string,
  parameters: ReadonlyMap<string, Parameter>,
  lora: LoraConfig,
): Promise<void> {
  const { file, tensors } = await openAdapter(directory);
  const own = [...tensors].filter(([key]) => !key.endsWith(".base_layer.weight"));
  const byKey = [...parameters].map(([path, value]) => [KEY_PREFIX + path, value] as const);
  pointAt({ file, tensors: new Map(own) }, new Map(byKey), lora);
}

function pointAt(
  { file, tensors }: Awaited<ReturnType<typeof openAdapter>>,
  wanted: ReadonlyMap<string, Parameter>,
  lora: LoraConfig,
): void {
  checkFit(file, wanted, tensors, lora);
  for (const [key, parameter] of wanted) {
    const info = tensors.get(key);
    if (info) parameter.values = fromFile(info);
  }
}

/** Weights of the base that a file holds: PEFT stores those of adapted and of resized embeddings, and loads whatever fits. They
 * may differ from the base's, by the rounding to half precision at least; so they are written again when the adapter is saved. */
function storedBaseParameters(
  model: Module,
  tensors: ReadonlyMap<string, TensorInfo>,
): [string, Parameter][] {
  return [...model.namedModules()].flatMap(([path, module]) =>
    module
      .ownParameters()
      .map(([name, parameter]): [string, Parameter] => [`${KEY_PREFIX}${path}.${name}`, parameter])
      .filter(([key]) => tensors.has(key)),
  );
}

function checkFit(
  file: string,
  wanted: ReadonlyMap<string, Parameter>,
  tensors: ReadonlyMap<string, TensorInfo>,
  { bias }: LoraConfig,
): void {
  const missing: string[] = [];
  const misshaped: string[] = [];
  for (const [key, { shape }] of wanted) {
    const stored = tensors.get(key);
    // PEFT 0.17 to 0.20 leave the biases of "lora_only" out of the file.
    const isOptional = bias === "lora_only" && key.endsWith(".base_layer.bias");
    if (!stored && !isOptional) missing.push(key);
    if (stored && stored.shape.join() !== shape.join()) {
      misshaped.push(`${key}: expected [${shape.join(", ")}], got [${stored.shape.join(", ")}]`);
    }
  }
  const unexpected = [...tensors.keys()].filter((key) => !wanted.has(key) && !REPEATED.test(key));
  if (missing.length + misshaped.length + unexpected.length === 0) return;
  const problems = [
    ...listed("missing keys", missing),
    ...listed("keys of another shape", misshaped),
    ...listed("unexpected keys", unexpected),
  ];
  const why = diagnosis(wanted, tensors, misshaped);
  throw new LowrankError(
    "checkpoint",
    `${file}: ${problems.join("; ")}. ` +
      (why.length > 0
        ? `The adapter belongs to another model: ${why.join("; ")}.`
        : unexpected.length === 0
          ? "The file is incomplete: download or save it again."
          : "The adapter belongs to another model, or its adapter_config.json was changed."),
  );
}

function listed(title: string, lines: readonly string[]): string[] {
  if (lines.length === 0) return [];
  return [`${title}: ${listFirst(lines, 10)}`];
}

/** What differs between the adapter's model and this one, as far as keys and shapes tell. */
function diagnosis(
  wanted: ReadonlyMap<string, Parameter>,
  tensors: ReadonlyMap<string, TensorInfo>,
  misshaped: readonly string[],
): string[] {
  const [its, ours] = [layerCount(tensors.keys()), layerCount(wanted.keys())];
  const changes = misshaped.filter((line) => line.includes(".lora_"));
  return [
    ...(its === ours ? [] : [`it adapts layers up to number ${its - 1}, here ${ours - 1}`]),
    ...(changes.length > 0 ? ["its rank or the width of its layers is another"] : []),
    ...(misshaped.length > changes.length ? ["its head is of another size"] : []),
  ];
}

/** The largest number in a path, and one. */
function layerCount(keys: Iterable<string>): number {
  return Math.max(0, ...[...keys].map((key) => 1 + Number(/\.(\d+)\./.exec(key)?.[1] ?? -1)));
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
  options: SaveAdapterOptions,
): Promise<void> {
  requirePath("saveAdapter", directory);
  requireOptions("saveAdapter", options);
  const parameters = [...adapterParameters(model, options.lora)].map(
    ([key, parameter]) => [key.slice(KEY_PREFIX.length), parameter] as const,
  );
  await saveAdapterParameters(directory, model, new Map(parameters), options);
}

/** The same for parameters by their path in the model. */
export async function saveAdapterParameters(
  directory: string,
  model: Module,
  parameters: ReadonlyMap<string, Pick<Parameter, "shape">>,
  options: SaveAdapterOptions,
): Promise<void> {
  const tensors = [];
  for (const [path, { shape }] of parameters) {
    tensors.push({ path, shape, values: await options.values(path) });
  }
  await saveAdapterTensors(directory, model, tensors, options);
}

/** The same for values at hand. */
export async function saveAdapterTensors(
  directory: string,
  model: Module,
  tensors: readonly { path: string; shape: readonly number[]; values: Float32Array }[],
  { lora, baseModel }: Omit<SaveAdapterOptions, "values">,
): Promise<void> {
  await writeSafetensors(
    join(directory, ADAPTER_WEIGHTS_FILE),
    tensors.map(({ path, shape, values }) => ({
      name: KEY_PREFIX + path,
      dtype: "F32" as const,
      shape,
      data: values,
    })),
    { format: "pt" },
  );
  await writeFileAtomic(
    join(directory, ADAPTER_CONFIG_FILE),
    formatAdapterConfig(lora, model, baseModel),
  );
}

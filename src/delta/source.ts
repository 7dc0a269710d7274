/**
 * @file A trained directory beside the base model that it was trained from: every tensor before and after, none of them read
 * yet. What such a directory can be: a stored change (format.ts), a whole model, a PEFT adapter. Names are those of the base
 * model's parameters, whatever prefix a file has. The differences are made in changes.ts.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { LowrankError, requirePath } from "../errors.ts";
import { listFirst } from "../format.ts";
import { formatShape, sameShape } from "../graph/shape.ts";
import { openCheckpoint } from "../io/checkpoint.ts";
import { readModelConfig } from "../io/model-config.ts";
import type { TensorInfo } from "../io/safetensors.ts";
import { applyLora } from "../lora/apply.ts";
import type { LoraConfig } from "../lora/config.ts";
import { changeProduct, type Product } from "../lora/host-merge.ts";
import { isFromWeight } from "../lora/initial.ts";
import { isLoraLayer, type LoraLayer } from "../lora/layers.ts";
import { mergedTensors, mergedValues, type MergedTensor } from "../lora/merged-tensors.ts";
import {
  ADAPTER_CONFIG_FILE,
  headConfig,
  KEY_PREFIX,
  loadAdapterWeights,
  openAdapter,
  readAdapterConfig,
} from "../lora/peft-format.ts";
import { TiedTokens, TrainableTokens } from "../lora/tokens.ts";
import { AutoModel, type PretrainedModel } from "../models/auto.ts";
import type { TaskType } from "../models/family.ts";
import { taskOfModel } from "../models/task-of.ts";
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { joinPath, parentOf } from "../nn/path.ts";
import { applyDelta, DELTA_CONFIG_FILE, isDeltaDirectory, readDelta } from "./format.ts";

/** What a trained directory holds. */
export type TrainedKind = "delta" | "model" | "adapter";

/** A tensor before and after training. */
export interface TrainedTensor {
  /** In the base model, e.g. "bert.encoder.layer.0.attention.self.query.weight". */
  readonly name: string;
  readonly shape: readonly number[];
  /** Paths of the modules that share it, the first of which gives the name. */
  readonly modules: readonly string[];
  /** Absent where the base does not have it: a new head. */
  readonly before?: (() => Promise<Float32Array>) | undefined;
  readonly after: () => Promise<Float32Array>;
  /** Where the change is known as a product: of an adapter. */
  readonly product?: (() => Promise<Product>) | undefined;
}

export interface Trained {
  readonly kind: TrainedKind;
  readonly directory: string;
  /** The base, made for the task of what was trained. */
  readonly base: PretrainedModel;
  readonly taskType: TaskType | null;
  /** An adapter's configuration. */
  readonly lora?: LoraConfig;
  /** Where what was trained is a model without head: what the names of its tensors lack, e.g. "bert.". */
  readonly barePrefix?: string | undefined;
  /** Keys with which `base` was made in place of those of its config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Tensors that may have changed, in the model's order. */
  readonly tensors: readonly TrainedTensor[];
  /** Of the directory's weights in their files. */
  readonly storedBytes: number;
}

/** What a directory holds. Throws LowrankError("checkpoint") where it is none of the three. */
export function trainedKind(directory: string): TrainedKind {
  requirePath("directory", directory);
  if (isDeltaDirectory(directory)) return "delta";
  if (existsSync(join(directory, ADAPTER_CONFIG_FILE))) return "adapter";
  if (existsSync(join(directory, "config.json"))) return "model";
  throw new LowrankError(
    "checkpoint",
    `${directory}: expected a change (${DELTA_CONFIG_FILE}), an adapter (${ADAPTER_CONFIG_FILE}) or a model (config.json), ` +
      "got none of them. Check the path.",
  );
}

/** Open a trained directory and its base. Reads configurations and headers only. Throws LowrankError. */
export async function openTrained(directory: string, base: string): Promise<Trained> {
  const kind = trainedKind(directory);
  const opened = await { delta: openDelta, adapter: openPeft, model: openModel }[kind](
    directory,
    base,
  );
  return { kind, directory, ...opened };
}

type Opened = Omit<Trained, "kind" | "directory">;

/** The base for a task, with a head of as many outputs as were trained. */
const loadBase = (
  directory: string,
  task: TaskType,
  config: Readonly<Record<string, unknown>>,
): Promise<PretrainedModel> => AutoModel.fromPretrained(directory, { task, config, newHead: true });

async function openDelta(directory: string, baseDirectory: string): Promise<Opened> {
  const delta = await readDelta(directory);
  const { task_type: named, new_tensors: added } = delta.config;
  const taskType = named as TaskType | null;
  const config = headConfig(delta.header.tensors);
  const load = async () =>
    loadBase(baseDirectory, taskType ?? (await taskOfModel(baseDirectory)), config);
  const [base, changed] = [await load(), await load()];
  applyDelta(changed.model, delta);
  const isNew = (name: string): boolean => added.includes(name);
  const tensors = pairs(base, changed, isNew).filter(({ name }) => delta.names.includes(name));
  const storedBytes = sumBytes(delta.header.tensors.values());
  return { base, taskType, config, tensors, storedBytes };
}

async function openModel(directory: string, baseDirectory: string): Promise<Opened> {
  const [stored, ofBase] = [await readModelConfig(directory), await readModelConfig(baseDirectory)];
  if (stored["model_type"] !== ofBase["model_type"]) {
    throw new LowrankError(
      "checkpoint",
      `${directory}: expected a change of ${baseDirectory}, a ${String(ofBase["model_type"])} model, got a ` +
        `${String(stored["model_type"])} model. Name the model that it was trained from as base.`,
    );
  }
  const taskType = await taskOfModel(directory);
  const config = Object.fromEntries(
    ["id2label", "num_labels", "problem_type"].map((key) => [key, stored[key]]),
  );
  const changed = await AutoModel.fromPretrained(directory, { task: taskType });
  const base = await loadBase(baseDirectory, taskType, config);
  const isNew = (name: string): boolean => base.newParameters.includes(name);
  // A head that both lack is made at random in both, and is no change.
  const lacking = new Set(changed.newParameters);
  const tensors = pairs(base, changed, isNew).filter(({ name }) => !lacking.has(name));
  const storedBytes = sumBytes((await openCheckpoint(directory)).tensors.values());
  const barePrefix = prefixOfBare(changed);
  return {
    base,
    taskType: barePrefix === undefined ? taskType : null,
    barePrefix,
    config,
    tensors,
    storedBytes,
  };
}

const startsWith = (part: string) => (name: string) => name.startsWith(`${part}.`);

/** The prefix that a checkpoint's names lack where it has no head; undefined where it has one. */
function prefixOfBare({ model, family, newParameters }: PretrainedModel): string | undefined {
  const names = [...model.namedParameters().keys()];
  const heads = family.headModules.flatMap((head) => names.filter(startsWith(head)));
  if (heads.length === 0 || heads.some((name) => !newParameters.includes(name))) return undefined;
  const prefix = family.basePrefixes.find((candidate) => names.some(startsWith(candidate)));
  return prefix === undefined ? undefined : `${prefix}.`;
}

/** The tensors of two models of one architecture. Throws LowrankError("checkpoint") that lists other shapes. */
function pairs(
  base: PretrainedModel,
  changed: PretrainedModel,
  isNew: (name: string) => boolean,
): TrainedTensor[] {
  const before = parametersByPath(base.model);
  const problems: string[] = [];
  const tensors = [...changed.model.namedParameters()].map(([name, parameter]): TrainedTensor => {
    const own = before.get(name);
    const { shape } = parameter;
    if (!own) problems.push(`${name}: the base has no such tensor`);
    else if (!sameShape(own.shape, shape)) {
      problems.push(`${name}: expected ${formatShape(own.shape)}, got ${formatShape(shape)}`);
    }
    return {
      name,
      shape,
      modules: modulesWith(changed.model, parameter),
      before: isNew(name) || !own ? undefined : reader(own, name),
      after: reader(parameter, name),
    };
  });
  if (problems.length === 0) return tensors;
  throw new LowrankError(
    "checkpoint",
    `${changed.directory}: not a change of ${base.directory}:\n  ${listFirst(problems, 10, "\n  ")}\n` +
      "Name the model that it was trained from as base; a vocabulary that grew cannot be compared.",
  );
}

async function openPeft(directory: string, baseDirectory: string): Promise<Opened> {
  const { lora } = await readAdapterConfig(directory);
  const { tensors: stored } = await openAdapter(directory);
  const task = lora.taskType ?? (await taskOfModel(baseDirectory));
  const config = headConfig(stored);
  const [base, adapted] = [
    await loadBase(baseDirectory, task, config),
    await loadBase(baseDirectory, task, config),
  ];
  applyLora(adapted.model, lora, adapted.family);
  await loadAdapterWeights(directory, adapted.model, lora);
  const options = { base, model: adapted.model, lora, stored };
  const tensors = mergedTensors(adapted.model)
    .filter((tensor) => isTouched(tensor, stored))
    .map((tensor) => adaptedTensor(tensor, options));
  const storedBytes = sumBytes(stored.values());
  return { base, taskType: lora.taskType, lora, config, tensors, storedBytes };
}

type Stored = ReadonlyMap<string, TensorInfo>;

/** Whether a file has anything for a tensor: an adapter, the whole of it, or the base's own values once more. */
function isTouched({ name, adapter, parameter }: MergedTensor, stored: Stored): boolean {
  return adapter !== undefined || parameter.requiresGrad || stored.has(KEY_PREFIX + name);
}

interface AdaptedOptions {
  readonly base: PretrainedModel;
  readonly model: Module;
  readonly lora: LoraConfig;
  readonly stored: Stored;
}

function adaptedTensor(tensor: MergedTensor, options: AdaptedOptions): TrainedTensor {
  const { base, model } = options;
  const { name, parameter, adapter } = tensor;
  const own = parametersByPath(base.model).get(name);
  const isNew = !own || base.newParameters.includes(name);
  const module = parentOf(name);
  const read = (wanted: Parameter): Promise<Float32Array> => reader(wanted, name)();
  return {
    name,
    shape: parameter.shape,
    modules: [module, ...tiedTo(adapter, model).filter((path) => path !== module)],
    before: isNew ? undefined : reader(own, name),
    after: () => mergedValues(tensor, read),
    product: isPlainProduct(adapter, module, options)
      ? () => changeProduct(adapter, read)
      : undefined,
  };
}

/** Whether scale·B·A is all that happens to a weight: not where the file has another weight of the base as well. */
function isPlainProduct(
  adapter: MergedTensor["adapter"],
  module: string,
  { lora, stored }: AdaptedOptions,
): adapter is LoraLayer {
  if (adapter === undefined || !isLoraLayer(adapter)) return false;
  const isWhole = stored.has(`${KEY_PREFIX}${module}.base_layer.weight`);
  return !lora.useDora && !isFromWeight(lora.initLoraWeights) && !isWhole;
}

/** Projections that share an embedding's trained tokens. */
function tiedTo(adapter: MergedTensor["adapter"], model: Module): string[] {
  if (!(adapter instanceof TrainableTokens)) return [];
  return [...model.namedModules()].flatMap(([path, module]) =>
    module instanceof TiedTokens && module.adapter === adapter.adapter ? [path] : [],
  );
}

/** Every parameter under every path that it has. */
export function parametersByPath(model: Module): Map<string, Parameter> {
  const result = new Map<string, Parameter>();
  for (const [path, module] of model.namedModules()) {
    for (const [name, parameter] of module.ownParameters()) {
      result.set(joinPath(path, name), parameter);
    }
  }
  return result;
}

function modulesWith(model: Module, parameter: Parameter): string[] {
  return [...model.namedModules()].flatMap(([path, module]) =>
    module.ownParameters().some(([, own]) => own === parameter) ? [path] : [],
  );
}

const reader =
  ({ values, shape }: Parameter, name: string) =>
  async (): Promise<Float32Array> =>
    values({ name, shape, seed: 0 });

function sumBytes(tensors: Iterable<TensorInfo>): number {
  let sum = 0;
  for (const { sizeBytes } of tensors) sum += sizeBytes;
  return sum;
}

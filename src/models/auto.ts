/** @file Finding the family of a model directory, and loading its weights. */
import { join } from "node:path";
import { LowrankError, requireOptions, requirePath } from "../errors.ts";
import { formatShape, sameShape } from "../graph/shape.ts";
import { matchTensors, openCheckpoint } from "../io/checkpoint.ts";
import { readModelConfig } from "../io/model-config.ts";
import type { TensorInfo } from "../io/safetensors.ts";
import { fromFile, normal, zeros } from "../nn/init.ts";
import type { Parameter } from "../nn/parameter.ts";
import { bert } from "./bert.ts";
import { distilbert } from "./distilbert.ts";
import {
  parseConfig,
  type BaseConfig,
  type Model,
  type ModelFamily,
  type ModelLimits,
  type TaskType,
} from "./family.ts";
import { gemma2 } from "./gemma2.ts";
import { gemma3Text } from "./gemma3_text.ts";
import { gpt2 } from "./gpt2.ts";
import { gptNeoX } from "./gpt_neox.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { modernbert } from "./modernbert.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";
import { roberta, xlmRoberta } from "./roberta.ts";

export const FAMILIES: readonly ModelFamily[] = [
  gpt2,
  bert,
  distilbert,
  roberta,
  xlmRoberta,
  modernbert,
  llama,
  mistral,
  qwen2,
  qwen3,
  gemma2,
  gemma3Text,
  gptNeoX,
];

/** Standard deviation of new weights, transformers' `initializer_range`. */
const NEW_STD = 0.02;

/** A model of a directory: its family, its configuration, its modules, and what the checkpoint lacks. */
export interface PretrainedModel {
  readonly directory: string;
  readonly family: ModelFamily;
  readonly config: BaseConfig;
  readonly model: Model;
  readonly limits: ModelLimits;
  /** Parameters that the checkpoint does not have, to be trained: a new head, or a pooler. */
  readonly newParameters: readonly string[];
  /** Where each of the others is stored, by its name in the model. */
  readonly stored: ReadonlyMap<string, TensorInfo>;
}

export interface FromPretrainedOptions {
  /** Default "SEQ_CLS". */
  task?: TaskType;
  /** Keys that replace those of config.json, e.g. `id2label` or dropout probabilities. */
  config?: Readonly<Record<string, unknown>>;
  /** Probability of every dropout of the model, instead of those of the configuration. */
  dropout?: number | undefined;
  /** Name of the configuration file. Default "config.json". */
  configFile?: string;
  /** Make a head new where the checkpoint's is for another number of labels. Default false: an error. */
  newHead?: boolean;
}

/** The family of a configuration; the error lists the known ones. */
export function familyOf(raw: unknown, where: string): ModelFamily {
  const modelType = (raw as { model_type?: unknown } | null)?.model_type;
  const family = FAMILIES.find((candidate) => candidate.modelType === modelType);
  if (family) return family;
  const known = FAMILIES.map((candidate) => candidate.modelType).join(", ");
  throw new LowrankError(
    "config",
    `${where}: model_type ${JSON.stringify(modelType) ?? "is missing and"} is not supported. Supported: ${known}.`,
  );
}

/** A model without weights, from a configuration alone. Throws LowrankError("config"). */
export function modelFromConfig(
  raw: Readonly<Record<string, unknown>>,
  task: TaskType = "SEQ_CLS",
  where = "config",
): Pick<PretrainedModel, "family" | "config" | "model" | "limits"> {
  const family = familyOf(raw, where);
  const config = parseConfig(family, raw, where);
  const build = family.models[task];
  if (!build) {
    throw new LowrankError(
      "config",
      `${where}: ${family.modelType} has no model for ${task}. It has: ${Object.keys(family.models).join(", ")}.`,
    );
  }
  return { family, config, model: build(config), limits: family.limits(config) };
}

/** Models by the `model_type` of their config.json. */
export const AutoModel = {
  /**
   * Load a model from a Hugging Face directory: config.json and safetensors weights. Weights are read
   * when an engine first needs them. Throws LowrankError that lists every tensor that is missing or
   * has another shape; a classification head or a pooler that is missing as a whole is made new instead, and
   * with `newHead` also what has another shape in a head. A language model's head is part of the checkpoint.
   */
  async fromPretrained(
    directory: string,
    options: FromPretrainedOptions = {},
  ): Promise<PretrainedModel> {
    requirePath("AutoModel.fromPretrained", directory);
    requireOptions("AutoModel.fromPretrained", options, {
      task: true,
      config: true,
      dropout: true,
      configFile: true,
      newHead: true,
    });
    const { configFile = "config.json" } = options;
    const stored = await readModelConfig(directory, configFile);
    const file = join(directory, configFile);
    const { task, newHead = false } = options;
    const built = modelFromConfig(configFor(stored, options, file), task, file);
    const heads = task === "CAUSAL_LM" ? [] : built.family.headModules;
    return { directory, ...built, ...(await loadWeights(built, heads, directory, newHead)) };
  },
};

/** The stored configuration with what replaces parts of it. As in transformers, a number of labels clears stored names of others. */
function configFor(
  stored: Readonly<Record<string, unknown>>,
  { config = {}, dropout }: FromPretrainedOptions,
  where: string,
): Record<string, unknown> {
  const { id2label } = stored;
  const count = config["num_labels"];
  const isForOthers = count !== undefined && Object.keys(id2label ?? {}).length !== count;
  const names = isForOthers ? { id2label: undefined, label2id: undefined } : {};
  const dropoutKeys = dropout === undefined ? [] : familyOf(stored, where).dropoutKeys;
  const dropouts = Object.fromEntries(dropoutKeys.map((key) => [key, dropout]));
  return { ...stored, ...names, ...config, ...dropouts };
}

/** Point a model's parameters at a checkpoint; also tells those of `heads` and of optional parts that it lacks. */
async function loadWeights(
  { model, family }: Pick<PretrainedModel, "model" | "family">,
  heads: readonly string[],
  directory: string,
  newHead: boolean,
): Promise<Pick<PretrainedModel, "newParameters" | "stored">> {
  const checkpoint = await openCheckpoint(directory);
  const stored = new Map(
    [...checkpoint.tensors.keys()].map((name) => [(family.renameStored ?? String)(name), name]),
  );
  const storedName = (name: string): string | undefined =>
    spellings(name, family).flatMap((spelling) => stored.get(spelling) ?? [])[0];

  const parameters = model.namedParameters();
  const inParts = (parts: readonly string[]): string[][] =>
    parts.map((part) => [...parameters.keys()].filter((name) => name.startsWith(`${part}.`)));
  const inHeads = inParts(heads);
  const absent = [...inHeads, ...inParts(family.optionalModules ?? [])]
    .filter((own) => own.every((name) => storedName(name) === undefined))
    .flat();
  const resized = inHeads.flat().flatMap((name): Resized[] => {
    const known = storedName(name);
    const found = known === undefined ? undefined : checkpoint.tensors.get(known)!.shape;
    const { shape } = parameters.get(name)!;
    // In another axis than that of the outputs, the checkpoint is for another model.
    const isResized = found && found[0] !== shape[0] && sameShape(found.slice(1), shape.slice(1));
    return isResized ? [{ name, found, expected: shape }] : [];
  });
  if (resized.length > 0 && !newHead) throw headError(directory, resized);

  const newParameters = [...absent, ...resized.map(({ name }) => name)];
  for (const name of newParameters) initialize(parameters.get(name)!);
  const wanted = [...parameters].filter(([name]) => !newParameters.includes(name));
  const { tensors } = matchTensors(
    wanted.map(([name, { shape }]) => ({ name, shape })),
    checkpoint,
    { where: directory, resolve: storedName },
  );
  for (const [name, parameter] of wanted) parameter.values = fromFile(tensors.get(name)!);
  return { newParameters, stored: tensors };
}

/** A head's parameter that has another shape in the checkpoint. */
interface Resized {
  readonly name: string;
  readonly found: readonly number[];
  readonly expected: readonly number[];
}

function headError(directory: string, resized: readonly Resized[]): LowrankError {
  const shapes = resized.map(
    ({ name, found, expected }) =>
      `  ${name}: expected ${formatShape(expected)}, got ${formatShape(found)}`,
  );
  const [{ found, expected }] = resized as [Resized];
  return new LowrankError(
    "checkpoint",
    `${directory}: the checkpoint's head is for ${found[0]} outputs, the data needs ${expected[0]}:\n` +
      `${shapes.join("\n")}\nSet newHead to train a new head in its place, or use data with the checkpoint's labels.`,
  );
}

/** A parameter's possible names in a checkpoint: its own, that in the bare model, and those in models
 * for other tasks. */
function spellings(name: string, { basePrefixes }: ModelFamily): string[] {
  const prefix = basePrefixes.find((candidate) => name.startsWith(`${candidate}.`));
  if (prefix === undefined) return [name];
  const bare = name.slice(prefix.length + 1);
  return [name, bare, ...basePrefixes.map((other) => `${other}.${bare}`)];
}

function initialize(parameter: Parameter): void {
  parameter.values = parameter.shape.length > 1 ? normal(NEW_STD) : zeros;
}

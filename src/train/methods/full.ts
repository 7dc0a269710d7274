/** @file Regular fine-tuning: weights of the model itself are trained, all of them, chosen ones, or those of the last layers. Stored
 * are they as a whole model, or their change alone. */
import { realpath } from "node:fs/promises";
import { resolve } from "node:path";
import { LowrankError } from "../../errors.ts";
import { writeDelta, type ChangedTensor, type DeltaDtype } from "../../delta/format.ts";
import type { ParameterRule } from "../../lora/lora-plus.ts";
import { baseTensors, saveMergedModel } from "../../lora/save-merged.ts";
import { ModulePatterns } from "../../lora/targets.ts";
import { requireFiniteResult } from "../../io/finite.ts";
import type { PretrainedModel } from "../../models/auto.ts";
import { parameterValues } from "../../nn/bind.ts";
import { LayerNorm } from "../../nn/layers.ts";
import { countParameters, freeze, ModuleList, type Module } from "../../nn/module.ts";
import type { Parameter } from "../../nn/parameter.ts";
import { lastPart } from "../../nn/path.ts";
import type { Task } from "../../tasks/task.ts";
import { isNamedIn } from "../base.ts";
import type { TrainOptions } from "../options.ts";
import type { Method, ReadValues } from "./method.ts";

/** A file of weights is at most this large, as in transformers. */
const MAX_SHARD_BYTES = 5e9;
const BYTES: Readonly<Record<TrainOptions["saveDtype"], number>> = { f32: 4, f16: 2, bf16: 2 };

/** Choose what is trained of a model. Throws LowrankError("config") when that is nothing. */
export function fullMethod(options: TrainOptions, base: PretrainedModel, task: Task): Method {
  const { model } = base;
  const chosen = chosenParameters(options, base);
  if (chosen) {
    freeze(model);
    for (const name of chosen) model.namedParameters().get(name)!.requiresGrad = true;
  }
  const trained = countParameters(model, { trainable: true });
  const stored = options.save === "delta" ? trained : countParameters(model);
  const common = {
    warnings: [],
    storedBytes: BYTES[options.saveDtype] * stored,
    rules: decayRules(model),
    tags: ["full-fine-tuning"],
  };
  if (options.save === "delta") {
    return {
      ...common,
      saves: "delta",
      title: "The change of a model",
      usage:
        "`delta.safetensors` holds the change of each trained weight, W' - W, for the base model that `delta_config.json` names.",
      save: (directory, _, values) =>
        saveDelta(directory, values, {
          base,
          task,
          dtype: deltaDtype(options),
          model: options.model,
        }),
    };
  }
  const before = baseTensors(base);
  return {
    ...common,
    saves: "model",
    title: "A model",
    usage: "The directory is a whole model in the Hugging Face format, for `from_pretrained`.",
    save: async (directory, _, values) => {
      await saveMergedModel(directory, base, before, {
        dtype: options.saveDtype,
        maxShardBytes: MAX_SHARD_BYTES,
        safe: true,
        config: task.modelConfig,
        tokenizer: base.directory,
        read: readerOf(model, values),
      });
    },
  };
}

const deltaDtype = ({ saveDtype }: TrainOptions): DeltaDtype =>
  saveDtype.toUpperCase() as DeltaDtype;

/** Reads parameters as they are now: those that are trained from the engine, others from the base. */
function readerOf(model: Module, values: ReadValues) {
  const names = new Map([...model.namedParameters()].map(([name, own]) => [own, name]));
  return async (parameter: Parameter): Promise<Float32Array> => {
    const name = names.get(parameter)!;
    if (!parameter.requiresGrad) return parameterValues(name, parameter, 0);
    return requireFiniteResult(name, await values(name));
  };
}

interface DeltaOptions {
  readonly base: PretrainedModel;
  readonly task: Task;
  readonly dtype: DeltaDtype;
  /** As the user named it. */
  readonly model: string;
}

async function saveDelta(
  directory: string,
  values: ReadValues,
  { base, task, dtype, model }: DeltaOptions,
): Promise<void> {
  async function* changes(): AsyncGenerator<ChangedTensor> {
    for (const [name, parameter] of base.model.namedParameters()) {
      if (!parameter.requiresGrad) continue;
      const changed = await values(name);
      const isNew = base.newParameters.includes(name);
      const before = isNew ? undefined : await parameterValues(name, parameter, 0);
      yield { name, shape: parameter.shape, base: before, changed };
    }
  }
  const identity = {
    base_model_name_or_path: resolve(model),
    revision: await revisionOf(model),
    base_model_type: base.family.modelType,
    task_type: task.type,
  };
  await writeDelta(directory, identity, dtype, changes());
}

/** The commit of a model in a Hugging Face cache, which has it in its path: …/snapshots/<commit>. */
async function revisionOf(directory: string): Promise<string | null> {
  const path = await realpath(directory);
  return /[\\/]snapshots[\\/]([0-9a-f]{40})(?:[\\/]|$)/.exec(path)?.[1] ?? null;
}

/** No weight decay for biases and normalizations, as in transformers' Trainer. */
function decayRules(model: Module): Map<Parameter, ParameterRule> {
  const rules = new Map<Parameter, ParameterRule>();
  for (const [, module] of model.namedModules()) {
    for (const [name, parameter] of module.ownParameters()) {
      const isExempt = name === "bias" || module instanceof LayerNorm || parameter.shape.length < 2;
      rules.set(parameter, { rate: 1, decays: !isExempt });
    }
  }
  return rules;
}

/** Paths of the parameters to train; undefined: all. */
function chosenParameters(
  { trainModules, trainLastLayers }: TrainOptions,
  base: PretrainedModel,
): Set<string> | undefined {
  if (trainModules === null && trainLastLayers === undefined) return undefined;
  const inModules =
    trainModules === null
      ? []
      : parametersIn(base, new ModulePatterns(trainModules, "trainModules"));
  const inLayers = trainLastLayers === undefined ? [] : lastLayers(base, trainLastLayers);
  return new Set([...inModules, ...inLayers, ...headParameters(base)]);
}

/** The head, and whatever the checkpoint lacks: random weights that are not trained mean nothing. */
function headParameters({ model, family, newParameters }: PretrainedModel): string[] {
  const names = [...model.namedParameters().keys()];
  return [...newParameters, ...names.filter((name) => isNamedIn(name, family.headModules))];
}

function parametersIn({ model }: PretrainedModel, patterns: ModulePatterns): string[] {
  const paths = [...model.namedModules()].map(([path]) => path).filter((path) => path !== "");
  const modules = paths.filter((path) => patterns.match(path));
  const names = [...model.namedParameters().keys()];
  const found = names.filter((name) => modules.some((path) => name.startsWith(`${path}.`)));
  if (found.length > 0) return found;
  const last = paths.map(lastPart);
  const known = new Set(last.filter((name) => !/^\d+$/.test(name)));
  throw new LowrankError(
    "config",
    `trainModules: ${patterns.text} matches no module with weights. The model has: ${[...known].join(", ")}.`,
  );
}

/** The last layers and what comes after them: a final normalization, a pooler. */
function lastLayers({ model }: PretrainedModel, count: number): string[] {
  const modules = [...model.namedModules()];
  const lists = modules.filter(([, module]) => module instanceof ModuleList) as [
    string,
    ModuleList,
  ][];
  const [path, list] = lists.reduce((most, own) =>
    own[1].items.length > most[1].items.length ? own : most,
  );
  const layers = list.items.length;
  if (count > layers) {
    throw new LowrankError(
      "config",
      `trainLastLayers: expected at most ${layers}, the model's layers (${path}), got ${count}.`,
    );
  }
  const isBefore = (name: string): boolean => {
    const layer = /^(\d+)\./.exec(name.slice(path.length + 1))?.[1];
    return name.startsWith(`${path}.`) && Number(layer) < layers - count;
  };
  const names = [...model.namedParameters().keys()];
  const first = names.findIndex((name) => name.startsWith(`${path}.`));
  return names.slice(first).filter((name) => !isBefore(name));
}

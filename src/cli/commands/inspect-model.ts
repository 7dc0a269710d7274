/** @file What `lowrank inspect` shows of a model, alone or with what was trained. */
import { sizeOf } from "../../graph/shape.ts";
import { openCheckpoint } from "../../io/checkpoint.ts";
import type { TensorInfo } from "../../io/safetensors.ts";
import { AutoModel, type PretrainedModel } from "../../models/auto.ts";
import { taskOfModel } from "../../models/task-of.ts";
import { countParameters, type Module } from "../../nn/module.ts";
import { withoutNumbers } from "../../nn/path.ts";
import { alignRows, formatBytes, formatCount } from "../terminal.ts";

/** Numbers of scalars and bytes. */
export interface Size {
  readonly parameters: number;
  /** In the file. */
  readonly bytes: number;
}

export interface ModelInfo {
  readonly model: string;
  readonly modelType: string;
  readonly parameters: number;
  /** What training changes without an adapter: everything. */
  readonly trainableParameters: number;
  /** The stored weights. */
  readonly checkpoint: Size;
  /** Parameters that the checkpoint lacks: a head to be trained. */
  readonly newParameters: readonly string[];
  readonly maxLength: number;
  readonly vocabSize: number;
  readonly tree: string;
}

export async function inspectModel(directory: string): Promise<ModelInfo> {
  const pretrained = await AutoModel.fromPretrained(directory, {
    task: await taskOfModel(directory),
  });
  return { ...(await describeModel(pretrained)), ...counts(pretrained.model) };
}

export async function describeModel(
  pretrained: PretrainedModel,
): Promise<Omit<ModelInfo, "parameters" | "trainableParameters">> {
  const { directory, family, model, newParameters, limits } = pretrained;
  const { maxLength, vocabSize } = limits;
  return {
    model: directory,
    modelType: family.modelType,
    checkpoint: sizeOfTensors((await openCheckpoint(directory)).tensors.values()),
    newParameters,
    maxLength,
    vocabSize,
    tree: String(model),
  };
}

export function counts(model: Module): Pick<ModelInfo, "parameters" | "trainableParameters"> {
  return {
    parameters: countParameters(model),
    trainableParameters: countParameters(model, { trainable: true }),
  };
}

export function sizeOfTensors(tensors: Iterable<TensorInfo>): Size {
  let [parameters, bytes] = [0, 0];
  for (const { shape, sizeBytes } of tensors) {
    parameters += sizeOf(shape);
    bytes += sizeBytes;
  }
  return { parameters, bytes };
}

export function modelText(info: ModelInfo): string {
  const { tree, parameters, newParameters } = info;
  const rows = [
    ...modelRows(info),
    ["parameters", `${formatCount(parameters)}, all trainable without an adapter`],
    ["new head", newParameters.length === 0 ? "none" : newParameters.join(", ")],
  ];
  return [tree, "", alignRows(rows)].join("\n");
}

export function modelRows({
  model,
  modelType,
  checkpoint,
  maxLength,
  vocabSize,
}: ModelInfo): string[][] {
  return [
    ["model", `${model} (${modelType})`],
    ["weights", `${formatCount(checkpoint.parameters)} in ${formatBytes(checkpoint.bytes)}`],
    ["tokens", `${formatCount(maxLength)} at most, ${formatCount(vocabSize)} in the vocabulary`],
  ];
}

/** Modules or tensors in a table: name, other cells, number of parameters. */
interface LayerRow {
  readonly name: string;
  readonly cells: readonly string[];
  readonly parameters: number;
}

/** Rows that differ in nothing but the number of their layer as one, named "12 x layer.*". */
export function foldLayers(rows: readonly LayerRow[]): LayerRow[] {
  const groups = new Map<string, LayerRow[]>();
  for (const row of rows) {
    const key = [withoutNumbers(row.name), ...row.cells].join("|");
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].map((group) => {
    const [{ name, cells }] = group as [LayerRow];
    const folded = withoutNumbers(name);
    return {
      name: group.length === 1 ? folded : `${group.length} x ${folded}`,
      cells,
      parameters: group.reduce((sum, { parameters }) => sum + parameters, 0),
    };
  });
}

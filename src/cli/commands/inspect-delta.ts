/** @file What `lowrank inspect` shows of a stored change. */
import { sizeOf } from "../../graph/shape.ts";
import { readDelta } from "../../delta/format.ts";
import { AutoModel } from "../../models/auto.ts";
import { openSaved } from "../../train/saved.ts";
import { alignRows, formatBytes, formatCount, formatShare, styled } from "../terminal.ts";
import {
  counts,
  describeModel,
  foldLayers,
  modelRows,
  sizeOfTensors,
  type ModelInfo,
} from "./inspect-model.ts";

interface DeltaInfo extends ModelInfo {
  readonly delta: {
    readonly directory: string;
    readonly dtype: string;
    readonly revision: string | null;
    /** Changed tensors with their numbers of scalars; `isNew`: the base does not have it. */
    readonly changed: readonly { name: string; shape: readonly number[]; isNew: boolean }[];
    readonly parameters: number;
    readonly bytes: number;
    /** Of its bytes and the model's. */
    readonly shareOfModel: number;
    readonly task: string;
    readonly metrics?: Readonly<Record<string, number>>;
  };
}

/** Describe a stored change and its base; reads no weights. Throws LowrankError. */
export async function inspectDelta(
  directory: string,
  asked: string | undefined,
): Promise<DeltaInfo> {
  const saved = await openSaved(directory, asked);
  const task = await saved.task();
  const pretrained = await AutoModel.fromPretrained(saved.baseModel, {
    task: task.type,
    config: task.modelConfig,
    newHead: true,
  });
  const model = await describeModel(pretrained);
  await saved.apply(pretrained); // Checks names and shapes.
  const { names, header, config } = await readDelta(directory);
  const changed = names.map((name) => {
    const { shape } = header.tensors.get(name)!;
    return { name, shape, isNew: config.new_tensors.includes(name) };
  });
  const { bytes } = sizeOfTensors(header.tensors.values());
  const metrics = saved.manifest?.result?.metrics?.scalars;
  return {
    ...model,
    ...counts(pretrained.model),
    delta: {
      directory,
      dtype: config.dtype,
      revision: config.revision,
      changed,
      parameters: changed.reduce((sum, { shape }) => sum + sizeOf(shape), 0),
      bytes,
      shareOfModel: bytes / model.checkpoint.bytes,
      task: task.name,
      ...(metrics ? { metrics } : {}),
    },
  };
}

/** For the terminal. */
export function deltaText(info: DeltaInfo): string {
  const { delta, tree, parameters } = info;
  const { changed, revision } = delta;
  const isNew = changed.filter((tensor) => tensor.isNew);
  const rows = [
    ...modelRows(info),
    ...(revision === null ? [] : [["revision", revision]]),
    ["change", `${delta.directory} (${delta.dtype})`],
    ["task", delta.task],
    ["tensors", `${formatCount(changed.length)} changed, ${isNew.length} of them new`],
    [
      "changed",
      `${formatCount(delta.parameters)} of ${formatCount(parameters)} parameters (${formatShare(delta.parameters / parameters)})`,
    ],
    ["size", `${formatBytes(delta.bytes)}, ${formatShare(delta.shareOfModel)} of the model's`],
    ...Object.entries(delta.metrics ?? {}).map(([name, value]) => [
      `validation ${name}`,
      value.toFixed(4),
    ]),
  ];
  const tensors = changed.map(({ name, shape }) => ({
    name,
    cells: [shape.join(" x ")],
    parameters: sizeOf(shape),
  }));
  const folded = foldLayers(tensors).map(({ name, cells }) => [name].concat(cells));
  return [
    tree,
    "",
    alignRows(rows),
    "",
    styled(process.stdout, "bold", "Changed tensors"),
    alignRows([["tensor", "shape"], ...folded], "  "),
  ].join("\n");
}

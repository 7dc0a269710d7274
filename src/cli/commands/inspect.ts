/** @file lowrank inspect: a model's modules and parameters, and what an adapter changes. Reads no weights,
 * only their names and shapes. */
import { z } from "zod";
import { LowrankError } from "../../errors.ts";
import { applyLora, modulesToSave } from "../../lora/apply.ts";
import { rankAndScale, type LoraConfig } from "../../lora/config.ts";
import type { LoraLayer } from "../../lora/layers.ts";
import { headConfig, loadAdapterWeights, openAdapter } from "../../lora/peft-format.ts";
import { AutoModel } from "../../models/auto.ts";
import { countParameters, type Module } from "../../nn/module.ts";
import { trainedKind } from "../../delta/source.ts";
import type { Manifest } from "../../train/manifest.ts";
import { findAdapter } from "../../train/saved-adapter.ts";
import { defineCommand } from "../command.ts";
import { noteWarnings } from "./adapter-flags.ts";
import { deltaText, inspectDelta } from "./inspect-delta.ts";
import {
  counts,
  describeModel,
  foldLayers,
  inspectModel,
  modelRows,
  modelText,
  sizeOfTensors,
  type ModelInfo,
  type Size,
} from "./inspect-model.ts";
import {
  alignRows,
  formatBytes,
  formatCount,
  formatShare,
  print,
  printJson,
  styled,
} from "../terminal.ts";

const schema = z.strictObject({
  model: z
    .string()
    .min(1)
    .optional()
    .describe("Directory of the model; default: the one that the adapter names"),
  adapter: z.string().min(1).optional().describe("Directory of an adapter, or of a stored change"),
  json: z.boolean().default(false).describe("Print the result as one JSON document"),
});

export const inspect = defineCommand({
  description:
    "Show a model's modules and the number of its parameters; with an adapter or a stored change, what it changes and " +
    "its size against the model's.",
  schema,
  placeholders: { model: "dir", adapter: "dir" },
  examples: [
    "lowrank inspect --model path/to/model",
    "lowrank inspect --adapter reviews-adapter",
    "lowrank inspect --model path/to/model --adapter reviews-adapter --json",
  ],
  async run({ model, adapter, json }) {
    const kind = adapter === undefined ? "model" : trainedKind(adapter);
    if (adapter !== undefined && kind === "delta") {
      const inspected = await inspectDelta(adapter, model);
      if (json) printJson(inspected);
      else print(deltaText(inspected));
    } else if (adapter !== undefined && kind === "adapter") {
      const inspected = await inspectAdapter(adapter, model);
      noteWarnings(inspected.adapter);
      if (json) printJson(inspected);
      else print(adapterText(inspected));
    } else if (adapter !== undefined || model !== undefined) {
      // A whole model that was trained is a model like any other.
      const inspected = await inspectModel(adapter ?? model!);
      if (json) printJson(inspected);
      else print(modelText(inspected));
    } else {
      throw new LowrankError(
        "usage",
        "--model and --adapter are missing: pass a model's directory, an adapter's, or both.",
      );
    }
  },
});

interface ChangedModule {
  readonly module: string;
  readonly shape: readonly number[];
  readonly r: number;
  readonly scale: number;
  readonly parameters: number;
}

interface AdapterInfo extends ModelInfo {
  readonly adapter: Size & {
    readonly directory: string;
    readonly config: LoraConfig;
    readonly changed: readonly ChangedModule[];
    /** Modules that are stored whole. */
    readonly saved: readonly { readonly module: string; readonly parameters: number }[];
    /** Of its bytes and the model's. */
    readonly shareOfModel: number;
    readonly warnings: readonly string[];
    readonly task?: string;
    readonly metrics?: Readonly<Record<string, number>>;
  };
}

async function inspectAdapter(directory: string, asked: string | undefined): Promise<AdapterInfo> {
  const { config, manifest, baseModel: base, warnings } = await findAdapter(directory, asked);
  const { lora } = config;
  const { tensors } = await openAdapter(directory);
  const pretrained = await AutoModel.fromPretrained(base, {
    ...(lora.taskType === null ? {} : { task: lora.taskType }),
    config: manifest?.modelConfig ?? headConfig(tensors),
    newHead: true,
  });
  const { model, family } = pretrained;
  const before = await describeModel(pretrained);
  const layers = applyLora(model, lora, family);
  await loadAdapterWeights(directory, model, lora); // Checks names and shapes.
  const stored = sizeOfTensors(tensors.values());
  return {
    ...before,
    ...counts(model),
    tree: String(model),
    adapter: {
      directory,
      warnings,
      ...stored,
      shareOfModel: stored.bytes / before.checkpoint.bytes,
      ...description(manifest),
      changed: [...layers].map(([path, layer]) => changedModule(path, layer, lora)),
      saved: savedModules(model, lora),
      config: lora,
    },
  };
}

function description(manifest: Manifest | undefined): Partial<AdapterInfo["adapter"]> {
  if (!manifest) return {};
  const metrics = manifest.result?.metrics?.scalars;
  return { task: manifest.task.name, ...(metrics ? { metrics } : {}) };
}

function changedModule(path: string, layer: LoraLayer, lora: LoraConfig): ChangedModule {
  return {
    module: path,
    shape: layer.base_layer.weight.shape,
    ...rankAndScale(lora, path),
    parameters: countParameters(layer, { trainable: true }),
  };
}

function savedModules(model: Module, lora: LoraConfig): AdapterInfo["adapter"]["saved"] {
  const names = modulesToSave(lora);
  return [...model.namedModules()]
    .filter(([path]) => names.some((name) => path === name || path.endsWith(`.${name}`)))
    .map(([module, part]) => ({ module, parameters: countParameters(part) }));
}

function adapterText(info: AdapterInfo): string {
  const { adapter, tree, parameters, trainableParameters } = info;
  const { config, metrics, task } = adapter;
  const share = trainableParameters / parameters;
  const rows = [
    ...modelRows(info),
    ["adapter", adapter.directory],
    ...(task === undefined ? [] : [["task", task]]),
    ["kind", kindOf(config)],
    ["parameters", `${formatCount(parameters)} with the adapter`],
    ["trainable", `${formatCount(trainableParameters)} (${formatShare(share)})`],
    ["size", `${formatBytes(adapter.bytes)}, ${formatShare(adapter.shareOfModel)} of the model's`],
    ...Object.entries(metrics ?? {}).map(([name, value]) => [
      `validation ${name}`,
      value.toFixed(4),
    ]),
  ];
  return [
    tree,
    "",
    alignRows(rows),
    "",
    styled(process.stdout, "bold", "Changed by the adapter"),
    alignRows([["module", "weight", "rank", "scale", "parameters"], ...changedRows(adapter)], "  "),
  ].join("\n");
}

function kindOf({ r, loraAlpha, useRslora, useDora }: LoraConfig): string {
  const extra = `${useRslora ? ", rank-stabilized" : ""}${useDora ? ", DoRA" : ""}`;
  return `LoRA, rank ${r}, alpha ${loraAlpha}${extra}`;
}

function changedRows({ changed, saved }: AdapterInfo["adapter"]): (string | number)[][] {
  const layers = changed.map(({ module, shape, r, scale, parameters }) => ({
    name: module,
    cells: [shape.join(" x "), String(r), String(Number(scale.toPrecision(4)))],
    parameters,
  }));
  const whole = saved.map(({ module, parameters }) => ({
    name: module,
    cells: ["whole", "", ""],
    parameters,
  }));
  return [...foldLayers(layers), ...whole].map(({ name, cells, parameters }) =>
    ([name] as (string | number)[]).concat(cells, parameters),
  );
}

/**
 * @file PiSSA and OLoRA adapters as plain LoRA, which leave the base as it is and so can be switched and combined:
 *
 *     W - s·B₀·A₀ + s·B·A = W + s·[B -B₀]·[A; A₀]
 *
 * twice the rank, of which A₀ and B₀ are what the adapter started from. Follows save_pretrained of peft 0.21 with
 * path_initial_model_for_weight_conversion; unlike there, modules that are stored whole and embeddings are kept.
 */
import { LowrankError } from "../errors.ts";
import { sizeOf } from "../graph/shape.ts";
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { loraLayers } from "./apply.ts";
import type { LoraConfig } from "./config.ts";
import { isFromWeight } from "./initial.ts";
import { factorsOf, LoraLinear, type LoraLayer } from "./layers.ts";
import {
  adapterParameters,
  KEY_PREFIX,
  saveAdapterTensors,
  type SaveAdapterOptions,
} from "./peft-format.ts";

/** Write an adapter that starts from the base's weights as a plain LoRA into an existing directory. Throws
 * LowrankError("config") for one that is plain already, or whose scales cannot be kept. */
export async function savePlainAdapter(
  directory: string,
  model: Module,
  options: SaveAdapterOptions,
): Promise<void> {
  const lora = plainConfig(options.lora);
  const tensors = [];
  const layers = loraLayers(model);
  for (const [key, parameter] of adapterParameters(model, options.lora)) {
    const path = key.slice(KEY_PREFIX.length);
    const values = await options.values(path);
    const doubled = await double(layerOf(path, layers), parameter, values);
    tensors.push({ path, ...(doubled ?? { shape: parameter.shape, values }) });
  }
  await saveAdapterTensors(directory, model, tensors, { ...options, lora });
}

/** The configuration of the plain adapter: twice the rank at the same scale. */
export function plainConfig(lora: LoraConfig): LoraConfig {
  const { initLoraWeights, useRslora, rankPattern, alphaPattern } = lora;
  const hasPatterns = Object.keys({ ...rankPattern, ...alphaPattern }).length > 0;
  const problem = !isFromWeight(initLoraWeights)
    ? "the adapter is a plain LoRA already. Save it as it is"
    : useRslora && hasPatterns
      ? "useRslora with rankPattern or alphaPattern cannot be kept at twice the rank. Train without one of them"
      : undefined;
  if (problem) throw new LowrankError("config", `savePlainAdapter: ${problem}.`);
  return {
    ...lora,
    r: 2 * lora.r,
    loraAlpha: lora.loraAlpha * (useRslora ? Math.SQRT2 : 2),
    rankPattern: twice(rankPattern),
    alphaPattern: twice(alphaPattern),
    initLoraWeights: true,
  };
}

function twice(pattern: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(pattern).map(([key, value]) => [key, 2 * value]));
}

function layerOf(path: string, layers: ReadonlyMap<string, LoraLayer>): LoraLayer | undefined {
  const owner = /^(.*)\.lora_/.exec(path)?.[1];
  return owner === undefined ? undefined : layers.get(owner);
}

/** A or B with what it started from beside it; undefined for other parameters. */
async function double(
  layer: LoraLayer | undefined,
  parameter: Parameter,
  values: Float32Array,
): Promise<{ shape: number[]; values: Float32Array } | undefined> {
  if (!layer) return undefined;
  const [a, b] = factorsOf(layer);
  if (parameter !== a && parameter !== b) return undefined;
  const [rows, columns] = parameter.shape as [number, number];
  const context = { name: "", shape: parameter.shape, seed: 0 };
  const initial = layer instanceof LoraLinear ? layer.initial : undefined;
  // An embedding starts as a plain one: zeros fill its rank up.
  const start = initial
    ? await (parameter === a ? initial.a : initial.b)(context)
    : new Float32Array(sizeOf(parameter.shape));
  if (parameter === a) {
    const stacked = new Float32Array(2 * values.length);
    stacked.set(values);
    stacked.set(start, values.length);
    return { shape: [2 * rows, columns], values: stacked };
  }
  const beside = new Float32Array(2 * values.length);
  for (let row = 0; row < rows; row++) {
    const part = (of: Float32Array): Float32Array =>
      of.subarray(row * columns, (row + 1) * columns);
    beside.set(part(values), 2 * row * columns);
    beside.set(
      part(start).map((value) => -value),
      (2 * row + 1) * columns,
    );
  }
  return { shape: [rows, 2 * columns], values: beside };
}

/** @file Merging an adapter into one weight on the host, in place: for models that are written to files or whose base is exchanged.
 * The same as a graph is `mergedWeight()` of the layers. Sums run in float64 and are rounded to float32 once. */
import { addScaled, transposed, matrixOf, rowOf, type Matrix } from "../linalg/matrix.ts";
import { Linear } from "../nn/layers.ts";
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { factorsOf, isLoraLayer, type LoraLayer } from "./layers.ts";
import { TiedTokens, TrainableTokens } from "./tokens.ts";

/** Reads a parameter's current values. */
export type ReadParameter = (parameter: Parameter) => Promise<Float32Array>;

/** A layer whose adapter can be merged into its base's weight. */
export type Mergeable = LoraLayer | TrainableTokens | TiedTokens;

export function isMergeable(module: Module): module is Mergeable {
  return isLoraLayer(module) || module instanceof TrainableTokens || module instanceof TiedTokens;
}

/** Merge a layer's adapter into its base's weight, row-major in the base's layout. */
export async function mergeInto(
  weight: Float32Array,
  layer: Mergeable,
  read: ReadParameter,
): Promise<void> {
  if (layer instanceof TrainableTokens || layer instanceof TiedTokens) {
    const { tokens, trainable_tokens_delta: delta } = layer.adapter;
    const [rows, width] = [await read(delta), delta.shape[1]!];
    for (const [row, token] of tokens.entries()) {
      weight.set(rows.subarray(row * width, (row + 1) * width), token * width);
    }
    return;
  }
  const { left, right } = await factors(layer, read);
  addProduct(weight, left, right, layer.scale);
  if (layer.lora_magnitude_vector) {
    const magnitude = await read(layer.lora_magnitude_vector);
    const outputsAreRows = layer.base_layer instanceof Linear;
    normalize(weight, magnitude, outputsAreRows);
  }
}

/** A matrix [rows, columns] that is not formed: left [rows, k] times right [k, columns]. */
export interface Product {
  readonly left: Matrix;
  readonly right: Matrix;
}

/** ΔW = scale·B·A of a layer without DoRA, in the layout of the base's weight. */
export async function changeProduct(layer: LoraLayer, read: ReadParameter): Promise<Product> {
  const { left, right } = await factors(layer, read);
  return { left: { ...left, data: left.data.map((value) => layer.scale * value) }, right };
}

/** ΔW / scale, likewise. */
async function factors(layer: LoraLayer, read: ReadParameter): Promise<Product> {
  const [a, b] = await readFactors(layer, read);
  return layer.base_layer instanceof Linear
    ? { left: b, right: a }
    : { left: transposed(a), right: transposed(b) };
}

/** The values of A and B. */
export async function readFactors(
  layer: LoraLayer,
  read: ReadParameter,
): Promise<[a: Matrix, b: Matrix]> {
  const matrix = async (parameter: Parameter): Promise<Matrix> => {
    const [rows, columns] = parameter.shape as [number, number];
    return matrixOf(rows, columns, await read(parameter));
  };
  const [a, b] = factorsOf(layer);
  return [await matrix(a), await matrix(b)];
}

/** W ← W + scale·left·right, a row at a time. */
function addProduct(weight: Float32Array, left: Matrix, right: Matrix, scale: number): void {
  const width = right.columns;
  const change = new Float64Array(width);
  const rows = Array.from({ length: right.rows }, (_, k) => rowOf(right, k));
  for (let row = 0; row < left.rows; row++) {
    change.fill(0);
    const coefficients = rowOf(left, row);
    let k = 0;
    // Four at a time: a third of the loads and stores of one at a time.
    for (; k + 3 < rows.length; k += 4) {
      const [c0, c1, c2, c3] = [0, 1, 2, 3].map((j) => scale * coefficients[k + j]!) as Quad;
      const [r0, r1, r2, r3] = [rows[k]!, rows[k + 1]!, rows[k + 2]!, rows[k + 3]!];
      for (let i = 0; i < width; i++) {
        change[i]! += c0 * r0[i]! + c1 * r1[i]! + (c2 * r2[i]! + c3 * r3[i]!);
      }
    }
    for (; k < rows.length; k++) addScaled(change, scale * coefficients[k]!, rows[k]!);
    const target = weight.subarray(row * width, (row + 1) * width);
    for (let i = 0; i < width; i++) target[i]! += change[i]!;
  }
}

type Quad = [number, number, number, number];

/** DoRA: give the weights that make each output the norm of its magnitude. */
function normalize(weight: Float32Array, magnitude: Float32Array, outputsAreRows: boolean): void {
  const outputs = magnitude.length;
  const inputs = weight.length / outputs;
  const [outputStep, inputStep] = outputsAreRows ? [inputs, 1] : [1, outputs];
  for (let output = 0; output < outputs; output++) {
    let squares = 0;
    for (let i = 0; i < inputs; i++) squares += weight[output * outputStep + i * inputStep]! ** 2;
    const factor = magnitude[output]! / Math.sqrt(squares);
    for (let i = 0; i < inputs; i++) weight[output * outputStep + i * inputStep]! *= factor;
  }
}

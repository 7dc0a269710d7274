/** @file The layers that LoRA puts in the place of others. Field names are PEFT's: a parameter's path
 * is its key in an adapter file, after "base_model.model.". Letters: r rank.
 * Sources: LoRA https://arxiv.org/abs/2106.09685, DoRA https://arxiv.org/abs/2402.09353 */
import type { Tensor } from "../graph/node.ts";
import { normal, zeros, type Values } from "../nn/init.ts";
import { Conv1D, Dropout, Embedding, Linear } from "../nn/layers.ts";
import { Module } from "../nn/module.ts";
import { Parameter } from "../nn/parameter.ts";
import { add, div, mul, sqrt, stopGradient, sub } from "../ops/elementwise.ts";
import { linear } from "../ops/functional.ts";
import { gather } from "../ops/indexing.ts";
import { matmul } from "../ops/matmul.ts";
import { reshape, transpose } from "../ops/movement.ts";
import { sum } from "../ops/reduce.ts";
import type { LoraConfig } from "./config.ts";

export interface LoraLayerOptions {
  readonly r: number;
  /** Factor of B·A. */
  readonly scale: number;
  readonly dropout: number;
  readonly useDora: boolean;
  readonly init: LoraConfig["initLoraWeights"];
}

/** `y = base(x) + scale·(x·Aᵀ)·Bᵀ`: x [..., in] → [..., out]; lora_A [r, in], lora_B [out, r]. With
 * DoRA each output is scaled to a learned norm `lora_magnitude_vector` [out]. */
export class LoraLinear extends Module {
  readonly scale: number;
  base_layer: Linear | Conv1D;
  lora_dropout: Dropout;
  lora_A: Linear;
  lora_B: Linear;
  lora_magnitude_vector?: Parameter;

  constructor(base: Linear | Conv1D, { r, scale, dropout, useDora, init }: LoraLayerOptions) {
    super();
    this.scale = scale;
    this.base_layer = base;
    this.lora_dropout = new Dropout(dropout);
    this.lora_A = new Linear(base.inFeatures, r, { bias: false });
    this.lora_B = new Linear(r, base.outFeatures, { bias: false });
    if (init === "gaussian") this.lora_A.weight.values = normal(1 / r);
    if (init !== false) this.lora_B.weight.values = zeros;
    if (useDora) {
      this.lora_magnitude_vector = new Parameter([base.outFeatures], rowNorms(base));
    }
  }

  forward(x: Tensor): Tensor {
    const base = this.base_layer.forward(x);
    const dropped = this.lora_dropout.forward(x);
    const change = mul(this.lora_B.forward(this.lora_A.forward(dropped)), this.scale);
    const magnitude = this.lora_magnitude_vector;
    if (!magnitude) return add(base, change);

    // y = base + (m/n - 1)·(base - bias) + (m/n)·change, the norm n of W + ΔW taken as a constant.
    const ratio = div(magnitude, stopGradient(this.#adaptedNorms())); // [out]
    const { bias } = this.base_layer;
    const source = dropped === x ? base : this.base_layer.forward(dropped);
    const product = bias ? sub(source, bias) : source;
    return add(base, add(mul(sub(ratio, 1), product), mul(ratio, change)));
  }

  /** W + ΔW, as [out, in]. */
  adaptedWeight(): Tensor {
    const weight = this.base_layer.weight;
    const delta = matmul(this.lora_B.weight, this.lora_A.weight);
    const oriented = this.base_layer instanceof Conv1D ? transpose(weight) : weight;
    return add(oriented, mul(delta, this.scale));
  }

  /** Weight with the adapter merged in, in the layout of the base layer. */
  mergedWeight(): Tensor {
    const adapted = this.adaptedWeight();
    const magnitude = this.lora_magnitude_vector;
    const column = [adapted.shape[0]!, 1];
    const scaled = magnitude
      ? mul(adapted, reshape(div(magnitude, this.#adaptedNorms()), column))
      : adapted;
    return this.base_layer instanceof Conv1D ? transpose(scaled) : scaled;
  }

  #adaptedNorms(): Tensor {
    const weight = this.adaptedWeight();
    return sqrt(sum(mul(weight, weight), { axes: [1] }));
  }
}

/** The norm of each output's weights, DoRA's initial magnitude. */
function rowNorms(base: Linear | Conv1D): Values {
  return async (context) => {
    const { weight } = base;
    // The layer's own name for the weight stands in `weight.values` (keepValues).
    const values = await weight.values({ ...context, shape: weight.shape });
    const [rows, columns] = [base.outFeatures, base.inFeatures];
    const [rowStep, columnStep] = base instanceof Conv1D ? [1, rows] : [columns, 1];
    return Float32Array.from({ length: rows }, (_, row) => {
      let squares = 0;
      for (let i = 0; i < columns; i++) squares += values[row * rowStep + i * columnStep]! ** 2;
      return Math.sqrt(squares);
    });
  };
}

/** `y = W[ids] + scale·Aᵀ[ids]·Bᵀ`: lora_embedding_A [r, vocabulary], lora_embedding_B [dim, r]. */
export class LoraEmbedding extends Module {
  readonly scale: number;
  base_layer: Embedding;
  lora_embedding_A: Parameter;
  lora_embedding_B: Parameter;

  constructor(base: Embedding, { r, scale, init }: LoraLayerOptions) {
    super();
    this.scale = scale;
    this.base_layer = base;
    const random = init === "gaussian" ? normal(1 / r) : normal(1);
    this.lora_embedding_A = new Parameter([r, base.numEmbeddings], init === false ? random : zeros);
    this.lora_embedding_B = new Parameter([base.embeddingDim, r], random);
  }

  forward(ids: Tensor): Tensor {
    const rows = gather(transpose(this.lora_embedding_A), ids); // [..., r]
    return add(this.base_layer.forward(ids), mul(linear(rows, this.lora_embedding_B), this.scale));
  }

  mergedWeight(): Tensor {
    const delta = matmul(this.lora_embedding_A, this.lora_embedding_B, {
      transposeA: true,
      transposeB: true,
    });
    return add(this.base_layer.weight, mul(delta, this.scale));
  }
}

export type LoraLayer = LoraLinear | LoraEmbedding;

export function isLoraLayer(module: Module): module is LoraLayer {
  return module instanceof LoraLinear || module instanceof LoraEmbedding;
}

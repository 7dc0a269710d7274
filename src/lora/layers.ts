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
import { initialFactors, isFromWeight, type InitialFactors } from "./initial.ts";

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
  /** What A and B started from where that is a part of the weight, which the weight then lacks. */
  readonly initial: InitialFactors | undefined;
  base_layer: Linear | Conv1D;
  lora_dropout: Dropout;
  lora_A: Linear;
  lora_B: Linear;
  lora_magnitude_vector?: Parameter;

  constructor(base: Linear | Conv1D, options: LoraLayerOptions) {
    super();
    const { r, scale, dropout, useDora, init } = options;
    this.scale = scale;
    this.base_layer = base;
    this.lora_dropout = new Dropout(dropout);
    this.lora_A = new Linear(base.inFeatures, r, { bias: false });
    this.lora_B = new Linear(r, base.outFeatures, { bias: false });
    if (init === "gaussian") this.lora_A.weight.values = normal(1 / r);
    if (init !== false) this.lora_B.weight.values = zeros;
    if (useDora) {
      this.lora_magnitude_vector = new Parameter([base.outFeatures], outputNorms(base));
    }
    if (isFromWeight(init)) {
      this.initial = initialFactors(base, { r, scale, init });
      this.lora_A.weight.values = this.initial.a;
      this.lora_B.weight.values = this.initial.b;
      base.weight.values = this.initial.residual;
    }
  }

  forward(x: Tensor): Tensor {
    return this.apply(x, this.base_layer.forward(x));
  }

  /** What becomes of an output y that the base, or another adapter on it, has for x. */
  apply(x: Tensor, y: Tensor): Tensor {
    const dropped = this.lora_dropout.forward(x);
    const change = mul(this.lora_B.forward(this.lora_A.forward(dropped)), this.scale);
    const magnitude = this.lora_magnitude_vector;
    if (!magnitude) return add(y, change);

    // y + (m/n - 1)·(base - bias) + (m/n)·change, the norm n of W + ΔW taken as a constant.
    const { weight, bias } = this.base_layer;
    const norms = stopGradient(this.#norms(this.#adapted(weight)));
    const ratio = div(magnitude, norms); // [out]
    const source = dropped === x ? y : this.base_layer.forward(dropped);
    const product = bias ? sub(source, bias) : source;
    return add(y, add(mul(sub(ratio, 1), product), mul(ratio, change)));
  }

  /** A weight with the adapter merged in, in the layout of the base layer; default: the base's own. */
  mergedWeight(weight: Tensor = this.base_layer.weight): Tensor {
    const adapted = this.#adapted(weight);
    const magnitude = this.lora_magnitude_vector;
    const column = [adapted.shape[0]!, 1];
    const scaled = magnitude
      ? mul(adapted, reshape(div(magnitude, this.#norms(adapted)), column))
      : adapted;
    return this.base_layer instanceof Conv1D ? transpose(scaled) : scaled;
  }

  /** W + ΔW, as [out, in]. */
  #adapted(weight: Tensor): Tensor {
    const delta = matmul(this.lora_B.weight, this.lora_A.weight);
    const oriented = this.base_layer instanceof Conv1D ? transpose(weight) : weight;
    return add(oriented, mul(delta, this.scale));
  }

  #norms(adapted: Tensor): Tensor {
    return sqrt(sum(mul(adapted, adapted), { axes: [1] }));
  }
}

/** The norm of the weights that make each output, DoRA's initial magnitude: [out] */
function outputNorms(base: Linear | Conv1D | Embedding): Values {
  // What the weight's values are now: later the adapter may take a part of them away.
  const { shape, values: valuesOf } = base.weight;
  const byColumn = !(base instanceof Linear);
  return async (context) => {
    const values = await valuesOf({ ...context, shape });
    const [rows, columns] = shape as [number, number];
    const squares = new Float64Array(byColumn ? columns : rows);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        squares[byColumn ? column : row]! += values[row * columns + column]! ** 2;
      }
    }
    return Float32Array.from(squares, Math.sqrt);
  };
}

/** `y = W[ids] + scale·Aᵀ[ids]·Bᵀ`: lora_embedding_A [r, vocabulary], lora_embedding_B [dim, r]. With DoRA each
 * dimension is scaled to a learned norm over the vocabulary, `lora_magnitude_vector` [dim]. */
export class LoraEmbedding extends Module {
  readonly scale: number;
  base_layer: Embedding;
  lora_embedding_A: Parameter;
  lora_embedding_B: Parameter;
  lora_magnitude_vector?: Parameter;

  constructor(base: Embedding, { r, scale, useDora, init }: LoraLayerOptions) {
    super();
    this.scale = scale;
    this.base_layer = base;
    this.lora_embedding_A = new Parameter(
      [r, base.numEmbeddings],
      init === false ? normal(1) : zeros,
    );
    this.lora_embedding_B = new Parameter([base.embeddingDim, r], normal(1));
    if (useDora) this.lora_magnitude_vector = new Parameter([base.embeddingDim], outputNorms(base));
  }

  /** For models that read rows of the table themselves. */
  get weight(): Tensor {
    return this.mergedWeight();
  }

  forward(ids: Tensor): Tensor {
    return this.apply(ids, this.base_layer.forward(ids));
  }

  /** What becomes of an output y that the base, or another adapter on it, has for ids. */
  apply(ids: Tensor, y: Tensor): Tensor {
    const rows = gather(transpose(this.lora_embedding_A), ids, this.base_layer); // [..., r]
    const change = mul(linear(rows, this.lora_embedding_B), this.scale);
    const magnitude = this.lora_magnitude_vector;
    if (!magnitude) return add(y, change);
    const norms = stopGradient(this.#norms(this.#adapted(this.base_layer.weight)));
    return mul(div(magnitude, norms), add(y, change));
  }

  /** A weight with the adapter merged in; default: the base's own. */
  mergedWeight(weight: Tensor = this.base_layer.weight): Tensor {
    const adapted = this.#adapted(weight);
    const magnitude = this.lora_magnitude_vector;
    return magnitude ? mul(adapted, div(magnitude, this.#norms(adapted))) : adapted;
  }

  #adapted(weight: Tensor): Tensor {
    const delta = matmul(this.lora_embedding_A, this.lora_embedding_B, {
      transposeA: true,
      transposeB: true,
    });
    return add(weight, mul(delta, this.scale));
  }

  #norms(adapted: Tensor): Tensor {
    return sqrt(sum(mul(adapted, adapted), { axes: [0] }));
  }
}

/** A layer with an adapter. */
export type LoraLayer = LoraLinear | LoraEmbedding;

/** Whether a module is a layer with an adapter. */
export function isLoraLayer(module: Module): module is LoraLayer {
  return module instanceof LoraLinear || module instanceof LoraEmbedding;
}

/** A and B of a layer: [r, in] and [out, r], of an embedding [r, vocabulary] and [dim, r]. */
export function factorsOf(layer: LoraLayer): [a: Parameter, b: Parameter] {
  return layer instanceof LoraLinear
    ? [layer.lora_A.weight, layer.lora_B.weight]
    : [layer.lora_embedding_A, layer.lora_embedding_B];
}

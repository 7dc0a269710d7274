/** @file The layers that models are composed of. Names, defaults and printed forms are PyTorch's. */
import { LowrankError } from "../errors.ts";
import { constant, input } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import { dimension, sizeOf } from "../graph/shape.ts";
import { add, relu, tanh } from "../ops/elementwise.ts";
import { gelu, silu } from "../ops/activations.ts";
import { layerNorm, linear } from "../ops/functional.ts";
import { gather } from "../ops/indexing.ts";
import { matmul } from "../ops/matmul.ts";
import { dropout } from "../ops/random.ts";
import { rmsNorm } from "../ops/rms-norm.ts";
import { constantValues, kaimingUniform, normal, ones, uniform, zeros } from "./init.ts";
import { Module, type Layer } from "./module.ts";
import { Parameter } from "./parameter.ts";

export interface LinearOptions {
  /** Default true. */
  bias?: boolean;
}

/** `y = x·Wᵀ + b`: x [..., in] → [..., out]; weight [out, in], bias [out]. */
export class Linear extends Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  weight: Parameter;
  bias?: Parameter;

  constructor(inFeatures: number, outFeatures: number, { bias = true }: LinearOptions = {}) {
    super();
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = new Parameter([outFeatures, inFeatures], kaimingUniform(inFeatures));
    if (bias) this.bias = new Parameter([outFeatures], uniform(1 / Math.sqrt(inFeatures)));
  }

  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }

  override extraRepr(): string {
    const bias = this.bias ? "True" : "False";
    return `in_features=${this.inFeatures}, out_features=${this.outFeatures}, bias=${bias}`;
  }
}

/** GPT-2's linear layer, stored transposed: `y = x·W + b`, weight [in, out]. */
export class Conv1D extends Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  weight: Parameter;
  bias: Parameter;

  constructor(outFeatures: number, inFeatures: number) {
    super();
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = new Parameter([inFeatures, outFeatures], normal(0.02));
    this.bias = new Parameter([outFeatures], zeros);
  }

  forward(x: Tensor): Tensor {
    return add(matmul(x, this.weight), this.bias);
  }

  override extraRepr(): string {
    return `nf=${this.outFeatures}, nx=${this.inFeatures}`;
  }
}

export interface EmbeddingOptions {
  /** Row that stands for padding: it gets no gradient. */
  paddingIdx?: number | undefined;
}

/** Rows of a table: int32 ids [...] → [..., dim]; weight [num, dim]. */
export class Embedding extends Module {
  readonly numEmbeddings: number;
  readonly embeddingDim: number;
  readonly paddingIdx: number | undefined;
  weight: Parameter;

  constructor(numEmbeddings: number, embeddingDim: number, { paddingIdx }: EmbeddingOptions = {}) {
    super();
    this.numEmbeddings = numEmbeddings;
    this.embeddingDim = embeddingDim;
    this.paddingIdx = paddingIdx;
    this.weight = new Parameter([numEmbeddings, embeddingDim], normal(1));
  }

  forward(ids: Tensor): Tensor {
    return gather(this.weight, ids, this);
  }

  override extraRepr(): string {
    const padding = this.paddingIdx === undefined ? "" : `, padding_idx=${this.paddingIdx}`;
    return `${this.numEmbeddings}, ${this.embeddingDim}${padding}`;
  }
}

export interface LayerNormOptions {
  /** Default true. */
  bias?: boolean;
}

/** Layer normalization over the last axis: x [..., C] → [..., C]; weight, bias [C]. */
export class LayerNorm extends Module {
  readonly eps: number;
  weight: Parameter;
  bias?: Parameter;

  constructor(width: number, eps = 1e-5, { bias = true }: LayerNormOptions = {}) {
    super();
    this.eps = eps;
    this.weight = new Parameter([width], ones);
    if (bias) this.bias = new Parameter([width], zeros);
  }

  forward(x: Tensor): Tensor {
    const { shape } = this.weight;
    const bias = this.bias ?? constant("float32", shape, new Float32Array(sizeOf(shape)));
    return layerNorm(x, this.weight, bias, this.eps);
  }

  override extraRepr(): string {
    const width = dimension(this.weight.shape, 0);
    const bias = this.bias ? "True" : "False";
    return `(${width},), eps=${pythonNumber(this.eps)}, elementwise_affine=True, bias=${bias}`;
  }
}

export interface RmsNormOptions {
  readonly eps: number;
  /** Added to the weight, whose initial value is then smaller by as much. Default 0. */
  readonly offset?: number;
}

/** Root-mean-square normalization over the last axis: x [..., C] → [..., C]; weight [C]. */
export class RmsNorm extends Module {
  readonly eps: number;
  readonly #offset: number;
  weight: Parameter;

  constructor(width: number, { eps, offset = 0 }: RmsNormOptions) {
    super();
    this.eps = eps;
    this.#offset = offset;
    this.weight = new Parameter([width], constantValues(1 - offset));
  }

  forward(x: Tensor): Tensor {
    const factor = this.#offset === 0 ? this.weight : add(this.weight, this.#offset);
    return rmsNorm(x, factor, this.eps);
  }

  override extraRepr(): string {
    return `(${dimension(this.weight.shape, 0)},), eps=${pythonNumber(this.eps)}`;
  }
}

/** A float as Python prints it: 1e-05, 0.0, 0.1. */
export function pythonNumber(value: number): string {
  if (Number.isInteger(value)) return value.toFixed(1);
  const text = Math.abs(value) < 1e-4 ? value.toExponential() : String(value);
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}

/** Seed and step of a training run, fed at each run of a graph with dropout. */
export const RANDOM_KEY = "random_key";
const randomKey = input(RANDOM_KEY, "int32", [2]);

/** While training, elements become 0 with probability p and the others are divided by 1 - p. */
export class Dropout extends Module {
  readonly p: number;

  constructor(p: number) {
    super();
    this.p = p;
  }

  /** @param use tells apart the places where one module is applied: their random numbers differ */
  forward(x: Tensor, use = ""): Tensor {
    return dropoutIn(this, x, this.p, use);
  }

  override extraRepr(): string {
    return `p=${pythonNumber(this.p)}, inplace=False`;
  }
}

/** Dropout inside a module that does not show it as a part: active while that is training. */
export function dropoutIn(module: Module, x: Tensor, p: number, use = ""): Tensor {
  if (!module.training || p === 0) return x;
  return dropout(x, { probability: p, key: randomKey, place: hashPath(module.path + use) });
}

/** FNV-1a of a module's path, 32 bits. */
function hashPath(path: string): number {
  let hash = 0x811c9dc5;
  for (const character of path) {
    hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193);
  }
  return hash >>> 0;
}

/** Does nothing: stands where other models of a family have a layer. */
export class Identity extends Module {
  forward(x: Tensor): Tensor {
    return x;
  }
}

// Activations, under the names that transformers prints and config.json uses.

export class GELUActivation extends Module {
  forward(x: Tensor): Tensor {
    return gelu(x, "erf");
  }
}

/** GPT-2's GELU with tanh. */
export class NewGELUActivation extends Module {
  forward(x: Tensor): Tensor {
    return gelu(x, "tanh");
  }
}

/** The same function; Gemma's name for it. */
export class GELUTanh extends NewGELUActivation {}

/** Hyperbolic tangent. */
export class Tanh extends Module {
  forward(x: Tensor): Tensor {
    return tanh(x);
  }
}

/** max(x, 0). */
export class ReLU extends Module {
  forward(x: Tensor): Tensor {
    return relu(x);
  }
}

/** x · sigmoid(x). */
export class SiLU extends Module {
  forward(x: Tensor): Tensor {
    return silu(x);
  }
}

/** The same function as transformers names it. */
export class SiLUActivation extends SiLU {}

const ACTIVATIONS: Readonly<Record<string, new () => Layer>> = {
  gelu: GELUActivation,
  gelu_new: NewGELUActivation,
  gelu_pytorch_tanh: GELUTanh,
  relu: ReLU,
  silu: SiLUActivation,
  swish: SiLUActivation,
  tanh: Tanh,
};

/** The names of the activations. */
export const ACTIVATION_NAMES: readonly string[] = Object.keys(ACTIVATIONS);

/** The activation that a config.json names. */
export function activation(name: string): Layer {
  const Activation = ACTIVATIONS[name];
  if (Activation) return new Activation();
  throw new LowrankError(
    "config",
    `activation "${name}" is not implemented. Known: ${ACTIVATION_NAMES.join(", ")}.`,
  );
}

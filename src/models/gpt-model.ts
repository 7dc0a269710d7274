/** @file The GPT of the lecture: GPT-2 with separate query, key and value layers and any output head,
 * composed of the public layers as a user would compose a model. Names as in "Build a Large Language
 * Model (From Scratch)" (S. Raschka), chapter 4. */
import { LowrankError } from "../errors.ts";
import { openCheckpoint, matchTensors } from "../io/checkpoint.ts";
import { readFloat32, type TensorInfo } from "../io/safetensors.ts";
import type { Tensor } from "../graph/node.ts";
import { dimension } from "../graph/shape.ts";
import { causalBias, mergeHeads, scaledDotProductAttention, splitHeads } from "../nn/attention.ts";
import { Dropout, Embedding, Linear } from "../nn/layers.ts";
import { ones, zeros, type Values } from "../nn/init.ts";
import { Module, Sequential, type Layer } from "../nn/module.ts";
import { Parameter } from "../nn/parameter.ts";
import { add } from "../ops/elementwise.ts";
import { gelu } from "../ops/activations.ts";
import { layerNorm } from "../ops/functional.ts";
import { positions } from "./positions.ts";

export interface GPTConfig {
  vocabSize: number;
  contextLength: number;
  embDim: number;
  nHeads: number;
  nLayers: number;
  dropRate: number;
  qkvBias: boolean;
  /** Outputs of the head; default the vocabulary, without bias, as a language model. */
  numClasses?: number;
}

/** GPT-2 with 124M parameters. */
export const GPT_CONFIG_124M: GPTConfig = {
  vocabSize: 50257,
  contextLength: 1024,
  embDim: 768,
  nHeads: 12,
  nLayers: 12,
  dropRate: 0,
  qkvBias: true,
};

class LayerNorm extends Module {
  scale: Parameter;
  shift: Parameter;

  constructor(width: number) {
    super();
    this.scale = new Parameter([width], ones);
    this.shift = new Parameter([width], zeros);
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.scale, this.shift, 1e-5);
  }
}

class GELU extends Module {
  forward(x: Tensor): Tensor {
    return gelu(x, "tanh");
  }
}

class MultiHeadAttention extends Module {
  readonly #heads: number;
  W_query: Layer;
  W_key: Layer;
  W_value: Layer;
  out_proj: Layer;
  dropout: Dropout;

  constructor({ embDim, nHeads, dropRate, qkvBias }: GPTConfig) {
    super();
    if (embDim % nHeads !== 0) {
      throw new LowrankError(
        "config",
        `GPTModel: expected embDim to be a multiple of nHeads, got ${embDim} and ${nHeads}.`,
      );
    }
    this.#heads = nHeads;
    this.W_query = new Linear(embDim, embDim, { bias: qkvBias });
    this.W_key = new Linear(embDim, embDim, { bias: qkvBias });
    this.W_value = new Linear(embDim, embDim, { bias: qkvBias });
    this.out_proj = new Linear(embDim, embDim);
    this.dropout = new Dropout(dropRate);
  }

  /** [B, T, C] → [B, T, C]; every token sees itself and those before it. */
  forward(x: Tensor): Tensor {
    const [q, k, v] = [this.W_query, this.W_key, this.W_value].map((projection) =>
      splitHeads(projection.forward(x), this.#heads),
    ) as [Tensor, Tensor, Tensor];
    const bias = causalBias(dimension(x.shape, 1));
    const attended = scaledDotProductAttention(q, k, v, { bias, dropout: this.dropout });
    return this.out_proj.forward(mergeHeads(attended));
  }
}

class FeedForward extends Module {
  layers: Sequential;

  constructor({ embDim }: GPTConfig) {
    super();
    this.layers = new Sequential(
      new Linear(embDim, 4 * embDim),
      new GELU(),
      new Linear(4 * embDim, embDim),
    );
  }

  forward(x: Tensor): Tensor {
    return this.layers.forward(x);
  }
}

class TransformerBlock extends Module {
  att: MultiHeadAttention;
  ff: FeedForward;
  norm1: LayerNorm;
  norm2: LayerNorm;
  drop_resid: Dropout;

  constructor(config: GPTConfig) {
    super();
    this.att = new MultiHeadAttention(config);
    this.ff = new FeedForward(config);
    this.norm1 = new LayerNorm(config.embDim);
    this.norm2 = new LayerNorm(config.embDim);
    this.drop_resid = new Dropout(config.dropRate);
  }

  forward(x: Tensor): Tensor {
    const attended = add(this.drop_resid.forward(this.att.forward(this.norm1.forward(x))), x);
    return add(this.drop_resid.forward(this.ff.forward(this.norm2.forward(attended))), attended);
  }
}

/** The lecture's GPT-2. Token ids [B, T] → logits [B, T, V], or of `numClasses` classes. */
export class GPTModel extends Module {
  tok_emb: Embedding;
  pos_emb: Embedding;
  drop_emb: Dropout;
  trf_blocks: Sequential;
  final_norm: LayerNorm;
  out_head: Layer;

  constructor(config: GPTConfig) {
    super();
    const { vocabSize, contextLength, embDim, dropRate, nLayers, numClasses } = config;
    this.tok_emb = new Embedding(vocabSize, embDim);
    this.pos_emb = new Embedding(contextLength, embDim);
    this.drop_emb = new Dropout(dropRate);
    this.trf_blocks = new Sequential(
      ...Array.from({ length: nLayers }, () => new TransformerBlock(config)),
    );
    this.final_norm = new LayerNorm(embDim);
    this.out_head =
      numClasses === undefined
        ? new Linear(embDim, vocabSize, { bias: false })
        : new Linear(embDim, numClasses);
  }

  /** int32 ids [B, T] → logits [B, T, classes] */
  forward(ids: Tensor): Tensor {
    const place = this.pos_emb.forward(positions(dimension(ids.shape, 1)));
    const embedded = this.drop_emb.forward(add(this.tok_emb.forward(ids), place));
    return this.out_head.forward(this.final_norm.forward(this.trf_blocks.forward(embedded)));
  }
}

/**
 * Load the weights of a GPT-2 checkpoint directory: the fused projection c_attn [C, 3C] is cut into
 * query, key and value, and [in, out] weights are transposed. A head of vocabulary size shares the
 * token embedding's weights; another head keeps its own. Throws LowrankError("checkpoint").
 */
export async function loadGpt2Weights(model: GPTModel, directory: string): Promise<void> {
  const checkpoint = await openCheckpoint(directory);
  const prefix = checkpoint.tensors.has("wte.weight") ? "" : "transformer.";
  const parameters = model.namedParameters();
  const sources = new Map<string, Source>();
  for (const name of parameters.keys()) {
    const source = gpt2Source(name);
    if (source) sources.set(name, { ...source, stored: prefix + source.stored });
  }
  const wanted = [...sources].map(([name, source]) => ({
    name: source.stored,
    shape: source.storedShape(parameters.get(name)!.shape),
  }));
  const { tensors } = matchTensors(wanted, checkpoint, { where: directory });
  for (const [name, source] of sources) {
    parameters.get(name)!.values = source.values(tensors.get(source.stored)!);
  }
  const head = parameters.get("out_head.weight");
  if (head && head.shape[0] === model.tok_emb.numEmbeddings)
    head.values = model.tok_emb.weight.values;
}

interface Source {
  readonly stored: string;
  storedShape(shape: readonly number[]): readonly number[];
  values(info: TensorInfo): Values;
}

const BLOCK_PARTS: Readonly<Record<string, string>> = {
  "att.out_proj": "attn.c_proj",
  "ff.layers.0": "mlp.c_fc",
  "ff.layers.2": "mlp.c_proj",
};
const THIRDS = ["W_query", "W_key", "W_value"];

/** Where GPT-2 keeps a parameter of this model; undefined for the head. */
function gpt2Source(name: string): Source | undefined {
  if (name === "tok_emb.weight") return asStored("wte.weight");
  if (name === "pos_emb.weight") return asStored("wpe.weight");
  const norm = /^final_norm\.(scale|shift)$/.exec(name);
  if (norm) return asStored(`ln_f.${norm[1] === "scale" ? "weight" : "bias"}`);
  const [, block, part] = /^trf_blocks\.(\d+)\.(.+)$/.exec(name) ?? [];
  if (block === undefined || part === undefined) return undefined;

  const blockNorm = /^norm([12])\.(scale|shift)$/.exec(part);
  if (blockNorm) {
    return asStored(
      `h.${block}.ln_${blockNorm[1]}.${blockNorm[2] === "scale" ? "weight" : "bias"}`,
    );
  }
  const [, layer, kind] = /^(.+)\.(weight|bias)$/.exec(part) ?? [];
  const third = THIRDS.indexOf(layer?.replace(/^att\./, "") ?? "");
  if (third !== -1) return fusedThird(`h.${block}.attn.c_attn.${kind}`, third);
  const stored = BLOCK_PARTS[layer ?? ""];
  if (!stored) throw new LowrankError("checkpoint", `${name}: GPT-2 has no such parameter.`);
  return kind === "bias"
    ? asStored(`h.${block}.${stored}.bias`)
    : transposed(`h.${block}.${stored}.weight`);
}

function asStored(stored: string): Source {
  return { stored, storedShape: (shape) => shape, values: (info) => () => readFloat32(info) };
}

function transposed(stored: string): Source {
  return {
    stored,
    storedShape: ([out, inner]) => [inner!, out!],
    values:
      (info) =>
      async ({ shape }) =>
        columns(await readFloat32(info), shape[1]!, 0, shape[0]!),
  };
}

/** Query, key or value out of c_attn: weight [C, 3C] or bias [3C]. */
function fusedThird(stored: string, third: number): Source {
  return {
    stored,
    storedShape: (shape) => (shape.length === 1 ? [3 * shape[0]!] : [shape[1]!, 3 * shape[0]!]),
    values:
      (info) =>
      async ({ shape }) => {
        const values = await readFloat32(info);
        const width = shape[0]!;
        if (shape.length === 1) return values.slice(third * width, (third + 1) * width);
        return columns(values, shape[1]!, third * width, width);
      },
  };
}

/** Columns start … start + count of a row-major matrix with `rows` rows, as rows: [count, rows]. */
function columns(matrix: Float32Array, rows: number, start: number, count: number): Float32Array {
  const width = matrix.length / rows;
  const result = new Float32Array(count * rows);
  for (let column = 0; column < count; column++) {
    for (let row = 0; row < rows; row++) {
      result[column * rows + row] = matrix[row * width + start + column]!;
    }
  }
  return result;
}

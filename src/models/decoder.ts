/** @file What LLaMA's descendants share: the keys of config.json and the stack of layers. What is peculiar
 * to a family is in its own file. Source: https://arxiv.org/abs/2302.13971 */
import { z } from "zod";
import type { Tensor } from "../graph/node.ts";
import type { GroupedQueryAttention, Place } from "../nn/grouped-query-attention.ts";
import { causalAttentionBias } from "../nn/key-value-cache.ts";
import type { GatedMlp } from "../nn/gated-mlp.ts";
import type { Embedding, RmsNorm } from "../nn/layers.ts";
import { Module, ModuleList } from "../nn/module.ts";
import type { RotaryEmbedding } from "../nn/rotary.ts";
import { add, mul } from "../ops/elementwise.ts";
import { baseConfigSchema, count, layerCount, type LayerKind, type ModelInputs } from "./family.ts";
import { positionsOf } from "./positions.ts";

// ---------------------------------------------------------------- config.json

/** The sizes that have a default of their own in each family. */
interface DefaultSizes {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly max_position_embeddings: number;
}

/** The keys that all these families have, those of the rotation aside (rope.ts). */
export function decoderSchema(sizes: DefaultSizes) {
  return baseConfigSchema.extend({
    vocab_size: count.default(sizes.vocab_size),
    hidden_size: count.default(sizes.hidden_size),
    intermediate_size: count.default(sizes.intermediate_size),
    num_hidden_layers: layerCount.default(sizes.num_hidden_layers),
    num_attention_heads: count.default(sizes.num_attention_heads),
    /** Default: as many as query heads. */
    num_key_value_heads: count.nullish(),
    /** Default: hidden_size / num_attention_heads. */
    head_dim: count.nullish(),
    max_position_embeddings: count.default(sizes.max_position_embeddings),
    rms_norm_eps: z.number().default(1e-6),
    attention_dropout: z.number().nullish(),
    classifier_dropout: z.number().nullish(),
    hidden_dropout: z.number().nullish(),
    /** Heads of token classification have a bias. */
    token_classification_bias: z.literal(true).optional(),
    tie_word_embeddings: z.boolean().default(false),
  });
}

export type DecoderConfig = z.infer<ReturnType<typeof decoderSchema>>;

/** H, K and D of a configuration. */
export function headSizes(config: DecoderConfig) {
  const heads = config.num_attention_heads;
  return {
    heads,
    keyValueHeads: config.num_key_value_heads ?? heads,
    headWidth: config.head_dim ?? config.hidden_size / heads,
  };
}

// ---------------------------------------------------------------- the stack

/** A layer of the stack: [B, T, C] → [B, T, C]. */
export interface DecoderLayer extends Module {
  self_attn: Module;
  mlp: Module;
  forward(x: Tensor, place: Place): Tensor;
}

export interface DecoderLayerParts {
  readonly attention: GroupedQueryAttention;
  readonly mlp: GatedMlp;
  readonly norm: () => RmsNorm;
}

/** LLaMA's layer: `x + attention(norm(x))`, then `x + mlp(norm(x))`. */
export class PreNormLayer extends Module implements DecoderLayer {
  self_attn: GroupedQueryAttention;
  mlp: GatedMlp;
  input_layernorm: RmsNorm;
  post_attention_layernorm: RmsNorm;

  constructor({ attention, mlp, norm }: DecoderLayerParts) {
    super();
    this.self_attn = attention;
    this.mlp = mlp;
    this.input_layernorm = norm();
    this.post_attention_layernorm = norm();
  }

  forward(x: Tensor, place: Place): Tensor {
    const attended = add(x, this.self_attn.forward(this.input_layernorm.forward(x), place));
    return add(attended, this.mlp.forward(this.post_attention_layernorm.forward(attended)));
  }
}

/** Gemma's layer: `x + norm(attention(norm(x)))`, then `x + norm(mlp(norm(x)))`. */
export class SandwichNormLayer extends Module implements DecoderLayer {
  self_attn: GroupedQueryAttention;
  mlp: GatedMlp;
  input_layernorm: RmsNorm;
  post_attention_layernorm: RmsNorm;
  pre_feedforward_layernorm: RmsNorm;
  post_feedforward_layernorm: RmsNorm;

  constructor({ attention, mlp, norm }: DecoderLayerParts) {
    super();
    this.self_attn = attention;
    this.mlp = mlp;
    this.input_layernorm = norm();
    this.post_attention_layernorm = norm();
    this.pre_feedforward_layernorm = norm();
    this.post_feedforward_layernorm = norm();
  }

  forward(x: Tensor, place: Place): Tensor {
    const attended = this.self_attn.forward(this.input_layernorm.forward(x), place);
    const middle = add(x, this.post_attention_layernorm.forward(attended));
    const fed = this.mlp.forward(this.pre_feedforward_layernorm.forward(middle));
    return add(middle, this.post_feedforward_layernorm.forward(fed));
  }
}

export interface DecoderOptions {
  readonly embedding: Embedding;
  /** Factor of the embeddings. Default 1. */
  readonly embeddingScale?: number | undefined;
  readonly layers: readonly DecoderLayer[];
  /** The kind of each layer. */
  readonly kinds: readonly LayerKind[];
  /** Keys that a query of a sliding layer sees, its own included. */
  readonly window?: number | undefined;
  readonly norm: RmsNorm;
  readonly rotary: RotaryEmbedding<LayerKind>;
}

/** Embeddings, layers, a last normalization: hidden states [B, T, C]. */
export class Decoder extends Module {
  readonly #options: DecoderOptions;
  embed_tokens: Embedding;
  layers: ModuleList<DecoderLayer>;
  norm: RmsNorm;
  rotary_emb: RotaryEmbedding<LayerKind>;

  constructor(options: DecoderOptions) {
    super();
    this.#options = options;
    this.embed_tokens = options.embedding;
    this.layers = new ModuleList(options.layers);
    this.norm = options.norm;
    this.rotary_emb = options.rotary;
  }

  /** → [B, T, C] */
  forward(inputs: ModelInputs): Tensor {
    const { inputIds, cache } = inputs;
    const { embeddingScale, kinds, window } = this.#options;
    const positions = positionsOf(inputs);
    const places = new Map<LayerKind, Place>();
    for (const kind of new Set(kinds)) {
      places.set(kind, {
        bias: causalAttentionBias(inputs, kind === "sliding_attention" ? window : undefined),
        rotation: this.rotary_emb.forward(positions, kind),
        cache,
      });
    }
    const embedded = this.embed_tokens.forward(inputIds);
    let x = embeddingScale === undefined ? embedded : mul(embedded, embeddingScale);
    for (const [index, layer] of [...this.layers].entries())
      x = layer.forward(x, places.get(kinds[index]!)!);
    return this.norm.forward(x);
  }
}

/** @file Qwen 2 and 2.5: LLaMA with biases on queries, keys and values, and sliding windows in the upper
 * layers where the configuration asks for them. Source: https://arxiv.org/abs/2407.10671; module names as
 * in transformers' modeling_qwen2. */
import { z } from "zod";
import { decoderSchema, PreNormLayer } from "./decoder.ts";
import { decoderFamily } from "./decoder-family.ts";
import { activationName, count, LAYER_KINDS, type LayerKind } from "./family.ts";
import { oneRope, ropeKeys } from "./rope.ts";

/** How Qwen's configurations say which layers have a window. */
export const qwenWindowKeys = {
  use_sliding_window: z.boolean().default(false),
  sliding_window: count.nullish().default(4096),
  /** With a window, layers below this number have full attention all the same. */
  max_window_layers: z.number().int().nonnegative().default(28),
  layer_types: z.array(z.enum(LAYER_KINDS)).nullish(),
};

type QwenWindow = z.infer<z.ZodObject<typeof qwenWindowKeys>>;

/** The window, unless it is switched off. */
export const qwenWindow = (config: QwenWindow): number | null | undefined =>
  config.use_sliding_window ? config.sliding_window : undefined;

/** `layer_types`, or by the layer's number. */
export function qwenLayerKind(config: QwenWindow, layer: number): LayerKind {
  const isUpper = qwenWindow(config) != null && layer >= config.max_window_layers;
  return config.layer_types?.[layer] ?? (isUpper ? "sliding_attention" : "full_attention");
}

const configSchema = decoderSchema({
  vocab_size: 151_936,
  hidden_size: 4096,
  intermediate_size: 22_016,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  max_position_embeddings: 32_768,
}).extend({ ...ropeKeys, hidden_act: activationName.default("silu"), ...qwenWindowKeys });

export type Qwen2Config = z.infer<typeof configSchema>;

export const qwen2 = decoderFamily<Qwen2Config>({
  modelType: "qwen2",
  configSchema,
  className: "Qwen2",
  rope: oneRope,
  kind: qwenLayerKind,
  window: qwenWindow,
  layer: ({ hidden_act: activation }, { attention, mlp, norm }) =>
    new PreNormLayer({ attention: attention({ bias: true }), mlp: mlp({ activation }), norm }),
});

/** @file Rotary position embedding: queries and keys are rotated by angles that grow with their position,
 * so that their product depends on the distance only. Source: https://arxiv.org/abs/2104.09864; scaling
 * for longer texts as in transformers' modeling_rope_utils. Letters: R rotated width, R ≤ D. */
import { constant } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import { cast, mul } from "../ops/elementwise.ts";
import { reshape } from "../ops/movement.ts";
import { rotate } from "../ops/rotary.ts";
import { cos, sin } from "../ops/trigonometry.ts";
import { Module } from "./module.ts";

/** How frequencies are made, without the width. */
export interface Rope {
  /** Base of the geometric series of wavelengths. */
  readonly theta: number;
  /** Stretching to longer texts than the base model's; default none. */
  readonly scaling?: RopeScaling | undefined;
}

export type RopeScaling =
  | { readonly type: "linear"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      /** Wavelengths above `originalLength / lowFrequencyFactor` are stretched in full … */
      readonly lowFrequencyFactor: number;
      /** … those below `originalLength / highFrequencyFactor` not at all. */
      readonly highFrequencyFactor: number;
      /** Longest text of the base model's training, in tokens. */
      readonly originalLength: number;
    };

/** Angle per position of each pair of features, `θ^(-2i/R)`, then stretched: R/2 numbers. */
export function ropeFrequencies(width: number, { theta, scaling }: Rope): Float32Array {
  const plain = Float32Array.from({ length: width / 2 }, (_, i) => theta ** ((-2 * i) / width));
  return scaling ? plain.map((frequency) => stretched(frequency, scaling)) : plain;
}

function stretched(frequency: number, scaling: RopeScaling): number {
  if (scaling.type === "linear") return frequency / scaling.factor;
  const { factor, lowFrequencyFactor, highFrequencyFactor, originalLength } = scaling;
  const turns = (originalLength * frequency) / (2 * Math.PI);
  // 0: fewer turns over the original length than the low factor, 1: more than the high one.
  const blend = (turns - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor);
  const kept = Math.min(1, Math.max(0, blend));
  return kept * frequency + ((1 - kept) * frequency) / factor;
}

/** Cosines and sines of every position's angles: each [B or 1, 1, T, R/2]. */
export interface Rotation {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** int32 positions [B or 1, T], R/2 frequencies → the rotation of each position. */
export function rotation(positionIds: Tensor, frequencies: Float32Array): Rotation {
  const [batch, length] = positionIds.shape as [number, number];
  const place = reshape(cast(positionIds, "float32"), [batch, 1, length, 1]);
  const angles = mul(place, constant("float32", [frequencies.length], frequencies));
  return { cos: cos(angles), sin: sin(angles) };
}

/** Queries or keys [B, H, T, D] with the first R features of each position rotated. */
export function applyRotation(x: Tensor, { cos: c, sin: s }: Rotation): Tensor {
  return rotate(x, c, s);
}

/** The rotations of a model, of each kind of its layers, made once for all of them; it has no weights. */
export class RotaryEmbedding<Kind extends string> extends Module {
  readonly #frequencies: Readonly<Record<Kind, Float32Array>>;

  constructor(frequencies: Readonly<Record<Kind, Float32Array>>) {
    super();
    this.#frequencies = frequencies;
  }

  /** int32 positions [B or 1, T] → the rotation for layers of a kind. */
  forward(positionIds: Tensor, kind: Kind): Rotation {
    return rotation(positionIds, this.#frequencies[kind]);
  }
}

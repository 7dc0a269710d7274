/** @file The feed-forward part with a gate, SwiGLU and GeGLU. Source: https://arxiv.org/abs/2002.05202.
 * Letters: F inner width. */
import type { Tensor } from "../graph/node.ts";
import { mul } from "../ops/elementwise.ts";
import { activation, Linear } from "./layers.ts";
import { Module, type Layer } from "./module.ts";

export interface GatedMlpOptions {
  /** C */
  readonly width: number;
  /** F */
  readonly innerWidth: number;
  /** Name of the gate's activation in config.json: "silu", "gelu_pytorch_tanh". */
  readonly activation: string;
  /** Default false. */
  readonly bias?: boolean;
}

/** `down(act(gate(x)) · up(x))`: [B, T, C] → [B, T, C] by way of [B, T, F]. */
export class GatedMlp extends Module {
  gate_proj: Layer;
  up_proj: Layer;
  down_proj: Layer;
  act_fn: Layer;

  constructor({ width, innerWidth, activation: name, bias = false }: GatedMlpOptions) {
    super();
    this.gate_proj = new Linear(width, innerWidth, { bias });
    this.up_proj = new Linear(width, innerWidth, { bias });
    this.down_proj = new Linear(innerWidth, width, { bias });
    this.act_fn = activation(name);
  }

  forward(x: Tensor): Tensor {
    const gate = this.act_fn.forward(this.gate_proj.forward(x));
    return this.down_proj.forward(mul(gate, this.up_proj.forward(x)));
  }
}

/** @file LoRA as the lecture "LLMs: Fine-tuning" writes it (after appendix E of "Build a Large Language
 * Model (From Scratch)", S. Raschka). It differs from PEFT's on purpose: A is [in, r] and drawn from
 * N(0, 1)/√r, and alpha is not divided by the rank. */
import { LowrankError } from "../errors.ts";
import type { Tensor } from "../graph/node.ts";
import { normal, zeros } from "../nn/init.ts";
import { Linear } from "../nn/layers.ts";
import { keepValues, Module, type Layer } from "../nn/module.ts";
import { Parameter } from "../nn/parameter.ts";
import { joinPath } from "../nn/path.ts";
import { add, mul } from "../ops/elementwise.ts";
import { matmul } from "../ops/matmul.ts";

/** `alpha·(x·A·B)`: x [..., in] → [..., out]; A [in, rank] ~ N(0, 1)/√rank, B [rank, out] = 0. */
export class LoRALayer extends Module {
  readonly alpha: number;
  A: Parameter;
  B: Parameter;

  /** Throws LowrankError("config") for a rank that is no whole number from 1, or an alpha that is none. */
  constructor(inDim: number, outDim: number, rank: number, alpha: number) {
    super();
    checkRank(rank, alpha);
    this.alpha = alpha;
    this.A = new Parameter([inDim, rank], normal(1 / Math.sqrt(rank)));
    this.B = new Parameter([rank, outDim], zeros);
  }

  forward(x: Tensor): Tensor {
    return mul(matmul(matmul(x, this.A), this.B), this.alpha);
  }
}

/** `linear(x) + lora(x)` */
export class LinearWithLoRA extends Module {
  linear: Linear;
  lora: LoRALayer;

  constructor(linear: Linear, rank: number, alpha: number) {
    super();
    this.linear = linear;
    this.lora = new LoRALayer(linear.inFeatures, linear.outFeatures, rank, alpha);
  }

  forward(x: Tensor): Tensor {
    return add(this.linear.forward(x), this.lora.forward(x));
  }
}

/** What comes from JavaScript may be missing, or PEFT's `r` and `loraAlpha`. */
function checkRank(rank: number, alpha: number): void {
  if (Number.isInteger(rank) && rank >= 1 && Number.isFinite(alpha)) return;
  throw new LowrankError(
    "config",
    `LoRALayer: expected a rank from 1 and a number alpha, got rank ${rank} and alpha ${alpha}. ` +
      "Pass for example { rank: 16, alpha: 16 }.",
  );
}

/** Replace every Linear below `model`, the output head included, by a LinearWithLoRA around it. */
export function replaceLinearWithLora(
  model: Module,
  { rank, alpha }: { rank: number; alpha: number },
): void {
  replaceBelow(model, "", (linear) => new LinearWithLoRA(linear, rank, alpha));
}

function replaceBelow(module: Module, path: string, wrap: (linear: Linear) => Layer): void {
  for (const [name, child] of module.children()) {
    const childPath = joinPath(path, name);
    if (child instanceof Linear) {
      keepValues(child, childPath);
      module.setChild(name, wrap(child));
    } else {
      replaceBelow(child, childPath, wrap);
    }
  }
}

/** @file LoRA+: another learning rate for B than for A. Source: https://arxiv.org/abs/2402.12354; which parameter belongs where is that
 * of peft 0.21's create_loraplus_optimizer. */
import { LayerNorm } from "../nn/layers.ts";
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { LoraEmbedding } from "./layers.ts";

export interface LoraPlusOptions {
  /** Rate of B, of magnitudes and of trained biases and norms, over that of everything else. */
  readonly ratio: number;
  /** Rate of an adapted embedding's A and B, over that of everything else. */
  readonly embeddingRatio: number;
}

/** How an optimizer treats a parameter. */
export interface ParameterRule {
  /** Factor of the learning rate. */
  readonly rate: number;
  /** Whether weight decay applies. */
  readonly decays: boolean;
}

/** The rule of each trainable parameter of a model. */
export function loraPlusRules(
  model: Module,
  { ratio, embeddingRatio }: LoraPlusOptions,
): Map<Parameter, ParameterRule> {
  const rules = new Map<Parameter, ParameterRule>();
  for (const [path, module] of model.namedModules()) {
    for (const [name, parameter] of module.ownParameters()) {
      const isFast = path.endsWith(".lora_B") || parameter.shape.length === 1;
      const isExempt = module instanceof LayerNorm || name === "bias";
      rules.set(parameter, {
        rate: isEmbeddingFactor(module, name) ? embeddingRatio : isFast ? ratio : 1,
        decays: !(parameter.shape.length === 1 && isExempt),
      });
    }
  }
  return rules;
}

function isEmbeddingFactor(module: Module, name: string): boolean {
  return module instanceof LoraEmbedding && name.startsWith("lora_embedding_");
}

/**
 * @file Between the lecture's LoRA (lecture.ts) and PEFT's (layers.ts). Both add alpha·x·A·B; they differ in
 * how they store it:
 *
 *     lecture   A [in, r]         B [r, out]          factor alpha
 *     PEFT      lora_A [r, in]    lora_B [out, r]     factor lora_alpha / r
 *
 * so matrices are transposed and lora_alpha = alpha·r. No number is rounded on the way, in either direction.
 */
import { LowrankError } from "../errors.ts";
import type { Values } from "../nn/init.ts";
import { Conv1D, type Linear } from "../nn/layers.ts";
import { keepValues, type Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { loraLayers, replaceModule } from "./apply.ts";
import { loraConfig, type LoraConfig } from "./config.ts";
import { LoraLinear, type LoraLayer } from "./layers.ts";
import { LinearWithLoRA } from "./lecture.ts";

/**
 * Put PEFT's layers in the place of the lecture's; returns the configuration that describes them, with which
 * `saveAdapter` writes an adapter that PEFT reads. Throws LowrankError("config") when the model has none, or
 * when they differ in rank or alpha.
 */
export function lectureToPeft(model: Module): LoraConfig {
  const layers = [...model.namedModules()].filter(
    (entry): entry is [string, LinearWithLoRA] => entry[1] instanceof LinearWithLoRA,
  );
  const kinds = new Set(
    layers.map(([, { lora }]) => `rank ${rankOf(lora.A)}, alpha ${lora.alpha}`),
  );
  if (kinds.size !== 1) {
    throw new LowrankError(
      "config",
      `lectureToPeft: expected LinearWithLoRA layers of one rank and alpha, got ` +
        `${kinds.size === 0 ? "none. Call replaceLinearWithLora first" : [...kinds].join("; ")}.`,
    );
  }
  const { lora } = layers[0]![1];
  const r = rankOf(lora.A);
  for (const [path, layer] of layers) {
    const options = { r, scale: lora.alpha, dropout: 0, useDora: false, init: true } as const;
    const replacement = new LoraLinear(layer.linear, options);
    keepValues(layer.linear, `${path}.linear`);
    adopt(replacement.lora_A.weight, layer.lora.A, `${path}.lora.A`);
    adopt(replacement.lora_B.weight, layer.lora.B, `${path}.lora.B`);
    replaceModule(model, path, replacement);
  }
  return loraConfig({
    r,
    loraAlpha: lora.alpha * r,
    targetModules: layers.map(([path]) => path),
  });
}

/** Put the lecture's layers in the place of PEFT's. Throws LowrankError("config") that lists the layers
 * which the lecture's form cannot express: with DoRA or dropout, around an Embedding or a Conv1D. */
export function peftToLecture(model: Module): void {
  const layers = [...loraLayers(model)];
  const problems = layers.flatMap(([path, layer]) => {
    const problem = inexpressible(layer);
    return problem ? [`${path} ${problem}`] : [];
  });
  if (layers.length === 0) problems.push("the model has no LoRA layers");
  if (problems.length > 0) {
    throw new LowrankError("config", `peftToLecture: ${problems.slice(0, 5).join("; ")}.`);
  }
  for (const [path, layer] of layers as [string, LoraLinear][]) {
    const rank = rankOf(layer.lora_B.weight);
    const replacement = new LinearWithLoRA(layer.base_layer as Linear, rank, layer.scale);
    keepValues(replacement.linear, `${path}.base_layer`);
    adopt(replacement.lora.A, layer.lora_A.weight, `${path}.lora_A.weight`);
    adopt(replacement.lora.B, layer.lora_B.weight, `${path}.lora_B.weight`);
    replaceModule(model, path, replacement);
  }
}

function inexpressible(layer: LoraLayer): string | undefined {
  if (!(layer instanceof LoraLinear)) return "adapts an Embedding";
  if (layer.base_layer instanceof Conv1D) return "adapts a Conv1D";
  if (layer.lora_magnitude_vector) return "uses DoRA";
  return layer.lora_dropout.p > 0 ? "has dropout" : undefined;
}

/** The rank of a matrix [.., r]. */
function rankOf({ shape }: Parameter): number {
  return shape[1]!;
}

/** Give a parameter the transposed values of another, whose path random values depend on. */
function adopt(target: Parameter, source: Parameter, sourcePath: string): void {
  target.values = transposedValues(source.values, source.shape, sourcePath);
  target.requiresGrad = source.requiresGrad;
}

function transposedValues(values: Values, shape: readonly number[], name: string): Values {
  const [rows, columns] = shape as [number, number];
  return async ({ seed }) => {
    const data = await values({ name, shape, seed });
    const result = new Float32Array(data.length);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        result[column * rows + row] = data[row * columns + column]!;
      }
    }
    return result;
  };
}

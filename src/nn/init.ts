/** @file Where the values of a parameter come from: initial distributions, files, arrays. Random
 * values depend on the seed and the parameter's name alone. */
import { readFloat32, type TensorInfo } from "../io/safetensors.ts";
import { randomGenerator } from "../random.ts";
import { sizeOf, type Shape } from "../graph/shape.ts";

export interface ValuesContext {
  readonly name: string;
  readonly shape: Shape;
  readonly seed: number;
}

/** Makes the values of a parameter, row-major. */
export type Values = (context: ValuesContext) => Float32Array | Promise<Float32Array>;

export const constantValues =
  (value: number): Values =>
  ({ shape }) =>
    new Float32Array(sizeOf(shape)).fill(value);

export const zeros = constantValues(0);
export const ones = constantValues(1);

/** Normal distribution with mean 0. */
export const normal =
  (std: number): Values =>
  ({ name, shape, seed }) => {
    const random = randomGenerator(seed, name);
    return Float32Array.from({ length: sizeOf(shape) }, () => std * random.normal());
  };

/** Uniform distribution in [-bound, bound). */
export const uniform =
  (bound: number): Values =>
  ({ name, shape, seed }) => {
    const random = randomGenerator(seed, name);
    return Float32Array.from({ length: sizeOf(shape) }, () => bound * (2 * random.uniform() - 1));
  };

/** He's uniform initialization with a = √5 over rows of `inputs` values, as torch.nn.Linear and PEFT's
 * lora_A use it: U(-1/√inputs, 1/√inputs). Source: https://arxiv.org/abs/1502.01852 */
export const kaimingUniform = (inputs: number): Values => uniform(1 / Math.sqrt(inputs));

export const fromArray =
  (values: Float32Array): Values =>
  () =>
    values.slice();

/** Read from a safetensors file, widened to float32. */
export const fromFile =
  (info: TensorInfo): Values =>
  () =>
    readFloat32(info);

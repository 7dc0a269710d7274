/** @file Where the values of a parameter come from: initial distributions, files, arrays. Random
 * values depend on the seed and the parameter's name alone. */
import { readFloat32, type TensorInfo } from "../io/safetensors.ts";
import { randomGenerator } from "../random.ts";
import { sizeOf, type Shape } from "../graph/shape.ts";

/** What a recipe for initial values gets to know of the parameter. */
export interface ValuesContext {
  readonly name: string;
  readonly shape: Shape;
  readonly seed: number;
  /** Where to put the values, instead of an array of their own. A wish: who cannot gives another array. */
  readonly into?: Float32Array;
}

/** Makes the values of a parameter, row-major. */
export type Values = (context: ValuesContext) => Float32Array | Promise<Float32Array>;

/** The array to fill. Values of another shape, made on the way, do not fit where the result belongs. */
function target({ shape, into }: ValuesContext): Float32Array {
  const size = sizeOf(shape);
  return into?.length === size ? into : new Float32Array(size);
}

/** The same number everywhere. */
export const constantValues =
  (value: number): Values =>
  (context) =>
    target(context).fill(value);

/** 0 everywhere. */
export const zeros = constantValues(0);
/** 1 everywhere. */
export const ones = constantValues(1);

/** Normal distribution with mean 0. */
export const normal =
  (std: number): Values =>
  (context) => {
    const random = randomGenerator(context.seed, context.name);
    const values = target(context);
    for (let i = 0; i < values.length; i++) values[i] = std * random.normal();
    return values;
  };

/** Uniform distribution in [-bound, bound). */
export const uniform =
  (bound: number): Values =>
  (context) => {
    const random = randomGenerator(context.seed, context.name);
    const values = target(context);
    for (let i = 0; i < values.length; i++) values[i] = bound * (2 * random.uniform() - 1);
    return values;
  };

/** He's uniform initialization with a = √5 over rows of `inputs` values, as torch.nn.Linear and PEFT's
 * lora_A use it: U(-1/√inputs, 1/√inputs). Source: https://arxiv.org/abs/1502.01852 */
export const kaimingUniform = (inputs: number): Values => uniform(1 / Math.sqrt(inputs));

/** A copy of these values, in row-major order. */
export const fromArray =
  (values: Float32Array): Values =>
  () =>
    values.slice();

/** Read from a safetensors file, widened to float32. */
export const fromFile =
  (info: TensorInfo): Values =>
  (context) =>
    readFloat32(info, target({ ...context, shape: info.shape }));

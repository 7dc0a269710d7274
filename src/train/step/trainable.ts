/** @file Trainable parameters as a few long vectors ("buckets", as in data-parallel training): the
 * optimizer then is a dozen operations on each instead of on every matrix. A parameter large enough is a
 * bucket of its own. */
import type { Tensor } from "../../graph/node.ts";
import { sizeOf } from "../../graph/shape.ts";
import type { ParameterRule } from "../../lora/lora-plus.ts";
import { parameterValues } from "../../nn/bind.ts";
import type { Module } from "../../nn/module.ts";
import type { Parameter } from "../../nn/parameter.ts";
import { concat, reshape } from "../../ops/movement.ts";
import type { Engine } from "../../runtime/engine.ts";

/** Elements after which a bucket is full: the dozen passes over it then stay in the processor's caches. */
const BUCKET_ELEMENTS = 131_072;

export interface Member {
  readonly name: string;
  readonly parameter: Parameter;
  /** First element in the bucket. */
  readonly offset: number;
}

const USUAL_RULE: ParameterRule = { rate: 1, decays: true };

export interface Bucket extends ParameterRule {
  /** Names of its vectors in the engine's store. */
  readonly names: BucketNames;
  readonly members: readonly Member[];
  readonly length: number;
}

export interface BucketNames {
  readonly parameter: string;
  readonly firstMoment: string;
  readonly secondMoment: string;
  readonly gradient: string;
}

/** Distribute a model's trainable parameters, in their order; those in a bucket have the same rule.
 * @param capacity elements after which a bucket is full */
export function makeBuckets(
  model: Module,
  rules: ReadonlyMap<Parameter, ParameterRule> = new Map(),
  capacity = BUCKET_ELEMENTS,
): Bucket[] {
  const buckets: (Bucket & { members: Member[]; length: number })[] = [];
  /** The bucket that is being filled, by rule. */
  const open = new Map<string, (typeof buckets)[number]>();
  for (const [name, parameter] of model.namedParameters()) {
    if (!parameter.requiresGrad) continue;
    const { rate, decays } = rules.get(parameter) ?? USUAL_RULE;
    const key = `${rate} ${decays}`;
    const size = sizeOf(parameter.shape);
    let bucket = open.get(key);
    if (!bucket || bucket.length + size > capacity) {
      bucket = { names: bucketNames(buckets.length), members: [], length: 0, rate, decays };
      buckets.push(bucket);
      open.set(key, bucket);
    }
    bucket.members.push({ name, parameter, offset: bucket.length });
    bucket.length += size;
  }
  return buckets;
}

function bucketNames(number: number): BucketNames {
  return {
    parameter: `trainable.${number}`,
    firstMoment: `first_moment.${number}`,
    secondMoment: `second_moment.${number}`,
    gradient: `gradient.${number}`,
  };
}

/** The optimizer's state of a parameter, with the parameter itself. */
export const STATE = ["parameter", "firstMoment", "secondMoment"] as const;

/** Fills the part of a bucket's vector that is a parameter's. */
export type FillState = (
  key: (typeof STATE)[number],
  name: string,
  into: Float32Array,
) => Promise<void>;

/** The state that training begins with: the parameters' own values, moments of zero. */
export function initialState(model: Module, seed: number): FillState {
  const parameters = model.namedParameters();
  return async (key, name, into) => {
    if (key !== "parameter") return;
    const values = await parameterValues(name, parameters.get(name)!, seed, into);
    if (values !== into) into.set(values);
  };
}

/** The part of a bucket's vector that is a member's, not copied. */
export function partOf(vector: Float32Array, { offset, parameter }: Member): Float32Array {
  return vector.subarray(offset, offset + sizeOf(parameter.shape));
}

/** A bucket's vector, filled member by member. */
export async function filledVector(
  { members, length }: Bucket,
  fill: (name: string, into: Float32Array) => Promise<void>,
): Promise<Float32Array> {
  const vector = new Float32Array(length);
  for (const member of members) await fill(member.name, partOf(vector, member));
  return vector;
}

/** Put the parameters' values and the optimizer's state into an engine's store; each parameter stays
 * readable there under its own name. */
export async function loadBuckets(
  engine: Engine,
  buckets: readonly Bucket[],
  fill: FillState,
): Promise<void> {
  for (const bucket of buckets) {
    const { names, members, length } = bucket;
    for (const key of STATE) {
      const data = await filledVector(bucket, (name, into) => fill(key, name, into));
      await engine.put(names[key], { dtype: "float32", shape: [length], data });
    }
    for (const { name, parameter, offset } of members) {
      await engine.view(name, { of: names.parameter, offset, shape: parameter.shape });
    }
  }
}

/** Gradients of a bucket's members, in their order, as one vector. */
export function flattenGradients(gradients: readonly Tensor[]): Tensor {
  return concat(
    gradients.map((gradient) => reshape(gradient, [-1])),
    0,
  );
}

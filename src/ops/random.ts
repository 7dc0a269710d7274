/**
 * @file Random numbers as a pure function of (seed, step, place), so that a run can be repeated and
 * resumed exactly, whatever the session. ONNX's own random operators keep hidden state instead.
 *
 * A matrix of bits is the product modulo 2³² of two vectors of random odd numbers: within a row (or a
 * column) the products are independent, and the upper bits, the only ones used, behave so across
 * rows; random.test.ts checks frequencies, pairs and quadruples. It costs one integer multiplication
 * and one comparison an element.
 */
import { LowrankError } from "../errors.ts";
import { applyOne, type Tensor } from "../graph/node.ts";
import type { OnnxBuilder, PrimitiveOp } from "../graph/op.ts";
import { dimension, sizeOf, type Shape } from "../graph/shape.ts";
import { scalar } from "../graph/leaves.ts";
import { cast, less, mul } from "./elementwise.ts";
import { iota } from "./indexing.ts";
import { reshape, slice } from "./movement.ts";

/** Multipliers of MurmurHash3's 32-bit finalizer (Austin Appleby, public domain). */
const MIX = [0x85ebca6b, 0xc2b2ae35] as const;
/** 2³² / golden ratio: steps of Weyl sequences. */
const WEYL = 0x9e3779b9;

/** The finalizer of MurmurHash3 on unsigned 32-bit integers. */
export function hash32(x: number): number {
  let h = x >>> 0;
  h = Math.imul(h ^ (h >>> 16), MIX[0]);
  h = Math.imul(h ^ (h >>> 13), MIX[1]);
  return (h ^ (h >>> 16)) >>> 0;
}

export interface HashVectorAttrs {
  readonly stream: number;
}

export const hashVectorOp: PrimitiveOp<HashVectorAttrs> = {
  kind: "primitive",
  name: "hashVector",
  infer: ([key, places]) => {
    if (key!.dtype !== "int32" || sizeOf(key!.shape) !== 2) {
      throw new LowrankError("graph", `hashVector: expected a key int32[2], got ${key!.dtype}.`);
    }
    return [{ dtype: "int32", shape: places!.shape }];
  },
  vjp: "not differentiable",
  // h(i) = 2·mix(i·WEYL + mix(step + mix(seed + stream·WEYL))) + 1, in int32 throughout: products that wrap
  // around, which every provider computes alike.
  lower: (builder, [key, places], { attrs }) => {
    const int32 = (values: readonly number[]): string => builder.constant("int32", [], values);
    const [seed] = builder.node("Gather", [key!, int32([0])], { axis: 0 });
    const [step] = builder.node("Gather", [key!, int32([1])], { axis: 0 });
    const [keyed] = builder.node("Add", [seed!, int32([Math.imul(attrs.stream, WEYL)])]);
    const [mixedKey] = builder.node("Add", [step!, mix(builder, keyed!)]);
    const [counters] = builder.node("Mul", [places!, int32([WEYL | 0])]);
    const [counted] = builder.node("Add", [counters!, mix(builder, mixedKey!)]);
    return [odd(builder, mix(builder, counted!))];
  },
  samples: [
    {
      inputs: [
        { dtype: "int32", shape: [2], values: [7, 3] },
        { dtype: "int32", shape: [4], values: [0, 1, 2, 9] },
      ],
      attrs: { stream: 1 },
    },
  ],
};

/** Added in the rounds of `mix`: primes of xxHash (Yann Collet, BSD). */
const ROUNDS = [0xc2b2ae3d, 0x27d4eb2f, 0x165667b1] as const;
const HALF = 2 ** 16;

/**
 * Mixes the bits of int32 values with sums, products and a division: three rounds of x·(2x + 1) + c, a
 * permutation of the 32-bit numbers whose upper bits depend on all bits (from the cipher RC6, Rivest et
 * al. 1998), each followed by an exchange of the halves. Each bit of the result depends on each bit of x
 * as it does with MurmurHash3's finalizer, which needs bitwise operators that GPUs' providers lack.
 */
function mix(builder: OnnxBuilder, value: string): string {
  const int32 = (x: number): string => builder.constant("int32", [], [x]);
  let x = value;
  for (const constant of ROUNDS) {
    const [product] = builder.node("Mul", [x, odd(builder, x)]);
    const [y] = builder.node("Add", [product!, int32(constant)]);
    const [upper] = builder.node("Mul", [y!, int32(HALF)]);
    const [lower] = builder.node("Div", [y!, int32(HALF)]);
    [x] = builder.node("Add", [upper!, lower!]) as [string];
  }
  return x;
}

/** 2x + 1 */
function odd(builder: OnnxBuilder, x: string): string {
  const int32 = (value: number): string => builder.constant("int32", [], [value]);
  const [double] = builder.node("Mul", [x, int32(2)]);
  return builder.node("Add", [double!, int32(1)])[0]!;
}

function mixReference(value: number): number {
  let x = value | 0;
  for (const constant of ROUNDS) {
    const y = (Math.imul(x, 2 * x + 1) + constant) | 0;
    x = (Math.imul(y, HALF) + Math.trunc(y / HALF)) | 0;
  }
  return x;
}

/** What hashVector computes, for tests: random odd 32-bit integers. */
export function hashVectorReference(
  seed: number,
  step: number,
  { stream, length }: { readonly stream: number; readonly length: number },
): Int32Array {
  const key = mixReference(step + mixReference(seed + Math.imul(stream, WEYL)));
  return Int32Array.from({ length }, (_, i) => 2 * mixReference(Math.imul(i, WEYL) + key) + 1);
}

/** Static vectors are cut from one of this length, so that all places of a step share it. */
const SHARED_LENGTH = 4096;

/** Random odd int32 numbers, the same for the same key, stream and place. */
function hashVector(key: Tensor, stream: number, length: number): Tensor {
  const made = length < SHARED_LENGTH ? SHARED_LENGTH : length;
  return slice(applyOne(hashVectorOp, [key, iota(made)], { stream }), 0, 0, length);
}

/** Random int32 numbers, uniform over all 32-bit patterns whose last bit is 1. */
export function randomBits(key: Tensor, place: number, shape: Shape): Tensor {
  const columns = dimension(shape, -1);
  const rows = sizeOf(shape.slice(0, -1));
  const placed = mul(hashVector(key, 1, rows), scalar(hash32(place) | 1, "int32"));
  const bits = mul(reshape(placed, [...shape.slice(0, -1), 1]), hashVector(key, 2, columns));
  return reshape(bits, shape);
}

export interface DropoutOptions {
  /** Probability of an element to become 0. */
  readonly probability: number;
  /** int32[2]: seed and step. */
  readonly key: Tensor;
  /** A number that names the place in the model. */
  readonly place: number;
}

/** Zero elements with a probability and divide the others by 1 - probability. */
export function dropout(x: Tensor, { probability, key, place }: DropoutOptions): Tensor {
  if (!(probability >= 0 && probability < 1)) {
    throw new LowrankError(
      "config",
      `dropout: expected a probability in [0, 1), got ${probability}.`,
    );
  }
  if (probability === 0) return x;
  const threshold = Math.round((1 - probability) * 2 ** 32) - 2 ** 31;
  const kept = less(randomBits(key, place, x.shape), scalar(threshold, "int32"));
  // The mask is made once, scale included, and multiplies forwards and backwards: faster than Where.
  return mul(x, mul(cast(kept, "float32"), 1 / (1 - probability)));
}

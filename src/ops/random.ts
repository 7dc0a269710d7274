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
import { ONNX_DTYPE } from "../graph/dtype.ts";
import { applyOne, type Tensor } from "../graph/node.ts";
import type { OnnxBuilder, PrimitiveOp } from "../graph/op.ts";
import { dimension, sizeOf, type Shape } from "../graph/shape.ts";
import { scalar } from "../graph/leaves.ts";
import { cast, less, mul } from "./elementwise.ts";
import { reshape, slice } from "./movement.ts";

const MASK = 0xffffffff;
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
  readonly length: number;
}

export const hashVectorOp: PrimitiveOp<HashVectorAttrs> = {
  kind: "primitive",
  name: "hashVector",
  infer: ([key], { length }) => {
    if (key!.dtype !== "int32" || sizeOf(key!.shape) !== 2) {
      throw new LowrankError("graph", `hashVector: expected a key int32[2], got ${key!.dtype}.`);
    }
    return [{ dtype: "int32", shape: [length] }];
  },
  vjp: "not differentiable",
  // h(i) = mix(i·WEYL + mix(step + mix(seed + stream))) | 1, in int64 since ONNX Runtime multiplies
  // no unsigned integers.
  lower: (builder, [key], { attrs }) => {
    const int64 = (values: number[], shape: number[] = []): string =>
      builder.constant("int64", shape, values);
    const [wide] = builder.node("Cast", [key!], { to: ONNX_DTYPE.int64 });
    const [seed] = builder.node("Gather", [wide!, int64([0])], { axis: 0 });
    const [step] = builder.node("Gather", [wide!, int64([1])], { axis: 0 });
    const [keyed] = builder.node("Add", [seed!, int64([attrs.stream])]);
    const [mixedKey] = builder.node("Add", [step!, mix(builder, keyed!)]);
    const counters = BigInt64Array.from({ length: attrs.length }, (_, i) =>
      BigInt(Math.imul(i, WEYL) >>> 0),
    );
    const [counted] = builder.node("Add", [
      builder.constant("int64", [attrs.length], counters),
      mix(builder, mixedKey!),
    ]);
    const [odd] = builder.node("BitwiseOr", [mix(builder, counted!), int64([1])]);
    // To the signed number with the same 32 bits, by arithmetic: what Cast does out of range is
    // not defined.
    const [isLarge] = builder.node("Greater", [odd!, int64([0x7fffffff])]);
    const [wrapped] = builder.node("Sub", [odd!, int64([MASK + 1])]);
    const [signed] = builder.node("Where", [isLarge!, wrapped!, odd!]);
    return builder.node("Cast", [signed!], { to: ONNX_DTYPE.int32 });
  },
  samples: [
    { inputs: [{ dtype: "int32", shape: [2], values: [7, 3] }], attrs: { stream: 1, length: 8 } },
  ],
};

/** hash32 of every element of an int64 value (taken modulo 2³²), as ONNX nodes. */
function mix(builder: OnnxBuilder, value: string): string {
  const int64 = (x: number): string => builder.constant("int64", [], [x]);
  const shifted = (x: string, bits: number): string => {
    const [quotient] = builder.node("Div", [x, int64(2 ** bits)]);
    return builder.node("BitwiseXor", [x, quotient!])[0]!;
  };
  const times = (x: string, factor: number): string => {
    const [product] = builder.node("Mul", [x, int64(factor)]);
    return builder.node("BitwiseAnd", [product!, int64(MASK)])[0]!;
  };
  const [low] = builder.node("BitwiseAnd", [value, int64(MASK)]);
  return shifted(times(shifted(times(shifted(low!, 16), MIX[0]), 13), MIX[1]), 16);
}

/** What hashVector computes, for tests: random odd signed 32-bit integers. */
export function hashVectorReference(
  seed: number,
  step: number,
  { stream, length }: HashVectorAttrs,
): Int32Array {
  const key = hash32(step + hash32(seed + stream));
  return Int32Array.from({ length }, (_, i) => hash32(Math.imul(i, WEYL) + key) | 1);
}

/** Random vectors are made this long at least, so that all places of a step share them. */
const MIN_VECTOR_LENGTH = 4096;

function hashVector(key: Tensor, stream: number, length: number): Tensor {
  const full = Math.max(MIN_VECTOR_LENGTH, 2 ** Math.ceil(Math.log2(length)));
  return slice(applyOne(hashVectorOp, [key], { stream, length: full }), 0, 0, length);
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

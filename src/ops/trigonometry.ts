/** @file Sine and cosine, to float32's accuracy on every provider: GPUs promise 2⁻¹¹ between -π and π, and
 * nothing beyond, where the angles of rotary positions are. */
import { applyOne, type Tensor } from "../graph/node.ts";
import { NONE, type CompositeOp, type None, type Sample } from "../graph/op.ts";
import { add, cast, greater, mul, neg, sub, where } from "./elementwise.ts";

/** 2π in three parts. The first two have 8 and 11 bits, so that their products with the number of a turn
 * are exact: up to 2¹³ turns for both, 2¹⁶ for the first. */
const TURN_HIGH = 201 / 32;
const TURN_MIDDLE = Math.floor((2 * Math.PI - TURN_HIGH) * 2 ** 20) / 2 ** 20;
const TURN_LOW = 2 * Math.PI - TURN_HIGH - TURN_MIDDLE;

/** Taylor coefficients in h² of sin(h)/h and cos(h), enough for |h| ≤ π/2. */
const SINE = [1, -1 / 6, 1 / 120, -1 / 5040, 1 / 362_880, -1 / 39_916_800, 1 / 6_227_020_800];
const COSINE = [1, -1 / 2, 1 / 24, -1 / 720, 1 / 40_320, -1 / 3_628_800, 1 / 479_001_600];

/** Sine and cosine of x/2, where x has first lost its whole turns. */
function halfAngle(x: Tensor): { sine: Tensor; cosine: Tensor } {
  const rounding = where(greater(x, 0), 0.5, -0.5);
  const turns = cast(cast(add(mul(x, 1 / (2 * Math.PI)), rounding), "int32"), "float32");
  const parts = [TURN_HIGH, TURN_MIDDLE, TURN_LOW];
  const rest = parts.reduce((left, part) => sub(left, mul(turns, part)), x); // in [-π, π]
  const half = mul(rest, 0.5);
  const square = mul(half, half);
  return { sine: mul(half, polynomial(square, SINE)), cosine: polynomial(square, COSINE) };
}

/** c₀ + c₁·x + c₂·x² + … by Horner's rule. */
function polynomial(x: Tensor, coefficients: readonly number[]): Tensor {
  return coefficients
    .slice(0, -1)
    .reduceRight<Tensor | number>(
      (sum, coefficient) => add(mul(sum, x), coefficient),
      coefficients.at(-1)!,
    ) as Tensor;
}

const SAMPLES: readonly Sample<None>[] = [
  { inputs: [{ dtype: "float32", shape: [2, 3] }], attrs: NONE },
  { inputs: [{ dtype: "float32", shape: [4, 5], range: [-40, 40] }], attrs: NONE },
];

/** By cos(x) = 1 - 2·sin²(x/2). */
export const cosOp: CompositeOp<None> = {
  kind: "composite",
  elementwise: true,
  name: "cos",
  infer: ([x]) => [{ dtype: "float32", shape: x!.shape }],
  decompose: ([x]) => {
    const { sine } = halfAngle(x!);
    return [sub(1, mul(mul(sine, sine), 2))];
  },
  vjp: (node, [g]) => [g && neg(mul(g, sin(node.inputs[0]!)))],
  lower: (builder, inputs) => builder.node("Cos", inputs),
  needs: "Cos",
  samples: SAMPLES,
};

/** By sin(x) = 2·sin(x/2)·cos(x/2). */
export const sinOp: CompositeOp<None> = {
  kind: "composite",
  elementwise: true,
  name: "sin",
  infer: ([x]) => [{ dtype: "float32", shape: x!.shape }],
  decompose: ([x]) => {
    const { sine, cosine } = halfAngle(x!);
    return [mul(mul(sine, cosine), 2)];
  },
  vjp: (node, [g]) => [g && mul(g, cos(node.inputs[0]!))],
  lower: (builder, inputs) => builder.node("Sin", inputs),
  needs: "Sin",
  samples: SAMPLES,
};

/** Sine of radians, elementwise. */
export const sin = (x: Tensor): Tensor => applyOne(sinOp, [x], NONE);
/** Cosine of radians, elementwise. */
export const cos = (x: Tensor): Tensor => applyOne(cosOp, [x], NONE);

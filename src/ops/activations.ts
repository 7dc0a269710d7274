/** @file Activations that are more than one primitive, with closed-form gradients. */
import { applyOne, type Tensor } from "../graph/node.ts";
import { NONE, sameType, type CompositeOp, type None } from "../graph/op.ts";
import { add, erf, exp, mul, sigmoid, sub } from "./elementwise.ts";

export type GeluForm = "erf" | "tanh";

export interface GeluAttrs {
  readonly approximate: GeluForm;
}

const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;

/** ½·(1 + erf(x/√2)), or ½·(1 + tanh(√(2/π)·(x + 0.044715·x³))) = σ(2√(2/π)·(x + 0.044715·x³)). */
function geluGate(x: Tensor, approximate: GeluForm): Tensor {
  if (approximate === "erf") return add(mul(erf(mul(x, Math.SQRT1_2)), 0.5), 0.5);
  return sigmoid(mul(x, geluSlope(x, 1)));
}

/** 2√(2/π)·(1 + power·0.044715·x²): the gate's argument over x, or (power 3) its derivative. */
function geluSlope(x: Tensor, power: 1 | 3): Tensor {
  return add(mul(mul(x, x), 2 * SQRT_2_OVER_PI * CUBIC * power), 2 * SQRT_2_OVER_PI);
}

const GELU_SAMPLES = (["erf", "tanh"] as const).map((approximate) => ({ approximate }));

export const geluOp: CompositeOp<GeluAttrs> = {
  kind: "composite",
  elementwise: true,
  name: "gelu",
  infer: sameType,
  decompose: ([x], { approximate }) => [mul(x!, geluGate(x!, approximate))],
  vjp: (node, [g]) => [g && applyOne(geluGradOp, [g, node.inputs[0]!], node.attrs)],
  lower: (builder, inputs, { attrs }) =>
    builder.node(
      attrs.approximate === "erf" ? "Gelu" : "FastGelu",
      inputs,
      {},
      { domain: "com.microsoft" },
    ),
  samples: GELU_SAMPLES.map((attrs) => ({ inputs: [{ dtype: "float32", shape: [3, 4] }], attrs })),
};

/** dx = g · (Φ(x) + x·φ(x)) for the exact form, Φ and φ the normal distribution and density;
 * dx = g · (s + x·s·(1 - s)·u′), s = σ(u), for the tanh form. */
export const geluGradOp: CompositeOp<GeluAttrs> = {
  kind: "composite",
  elementwise: true,
  name: "geluGrad",
  infer: sameType,
  decompose: ([g, x], { approximate }) => {
    if (approximate === "erf") {
      // ½ stays outside, where it joins the scale factor of the product that follows.
      const density = mul(mul(x!, exp(mul(mul(x!, x!), -0.5))), SQRT_2_OVER_PI);
      return [mul(mul(g!, add(add(erf(mul(x!, Math.SQRT1_2)), density), 1)), 0.5)];
    }
    const gate = geluGate(x!, approximate);
    const y = mul(x!, gate);
    return [mul(g!, add(gate, mul(sub(y, mul(y, gate)), geluSlope(x!, 3))))];
  },
  samples: GELU_SAMPLES.map((attrs) => ({
    inputs: [
      { dtype: "float32", shape: [3, 4] },
      { dtype: "float32", shape: [3, 4] },
    ],
    attrs,
  })),
};

/** Gaussian error linear unit, `x·Φ(x)`; "tanh" is GPT-2's approximation.
 * Source: https://arxiv.org/abs/1606.08415 */
export const gelu = (x: Tensor, approximate: GeluForm = "erf"): Tensor =>
  applyOne(geluOp, [x], { approximate });

export const siluOp: CompositeOp<None> = {
  kind: "composite",
  elementwise: true,
  name: "silu",
  infer: sameType,
  decompose: ([x]) => [mul(x!, sigmoid(x!))],
  vjp: (node, [g]) => [g && applyOne(siluGradOp, [g, node.inputs[0]!, node.outputs[0]!], NONE)],
  // QuickGelu is x·σ(αx).
  lower: (builder, inputs) =>
    builder.node("QuickGelu", inputs, { alpha: { float: 1 } }, { domain: "com.microsoft" }),
  needs: "com.microsoft.QuickGelu",
  samples: [{ inputs: [{ dtype: "float32", shape: [3, 4] }], attrs: NONE }],
};

/** dx = g·(s + y·(1 - s)) with s = σ(x), y = x·s. */
export const siluGradOp: CompositeOp<None> = {
  kind: "composite",
  elementwise: true,
  name: "siluGrad",
  infer: sameType,
  decompose: ([g, x, y]) => {
    const s = sigmoid(x!);
    return [mul(g!, add(s, sub(y!, mul(y!, s))))];
  },
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [3, 4] },
        { dtype: "float32", shape: [3, 4] },
        { dtype: "float32", shape: [3, 4] },
      ],
      attrs: NONE,
    },
  ],
};

/** Sigmoid linear unit, `x·σ(x)`, also called swish. Source: https://arxiv.org/abs/1606.08415 */
export const silu = (x: Tensor): Tensor => applyOne(siluOp, [x], NONE);

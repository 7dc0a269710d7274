/** @file Root-mean-square normalization with a closed-form gradient, beside layer normalization in
 * functional.ts. Source: https://arxiv.org/abs/1910.07467 */
import { LowrankError } from "../errors.ts";
import { apply, applyOne, type Tensor } from "../graph/node.ts";
import { NONE, type CompositeOp, type None } from "../graph/op.ts";
import { dimension, formatShape, sameShape } from "../graph/shape.ts";
import { add, div, mul, neg, sqrt } from "./elementwise.ts";
import { mean, sumTo } from "./reduce.ts";

const LAST = { axes: [-1], keepDims: true } as const;

export interface RmsNormAttrs {
  readonly eps: number;
}

/** Outputs y, and 1/√(mean(x²) + eps) of each row for the gradient. */
export const rmsNormOp: CompositeOp<RmsNormAttrs> = {
  kind: "composite",
  rowwise: true,
  name: "rmsNorm",
  infer: ([x, weight]) => {
    const width = dimension(x!.shape, -1);
    if (!sameShape(weight!.shape, [width])) {
      throw new LowrankError(
        "graph",
        `rmsNorm: weight must be [${width}], got ${formatShape(weight!.shape)}.`,
      );
    }
    return [
      { dtype: "float32", shape: x!.shape },
      { dtype: "float32", shape: x!.shape.with(x!.shape.length - 1, 1) },
    ];
  },
  decompose: ([x, weight], { eps }) => {
    const inverse = div(1, sqrt(add(mean(mul(x!, x!), LAST), eps)));
    return [mul(mul(x!, inverse), weight!), inverse];
  },
  vjp: (node, [g, gInverse]) => {
    const [x, weight] = node.inputs as [Tensor, Tensor];
    const inverse = node.outputs[1]!;
    const dx = g ? [applyOne(rmsNormGradOp, [g, x, weight, inverse], NONE)] : [];
    // Only gradients read the inverse, so this is a part of second derivatives: dσ⁻¹/dx = -σ⁻³·x/C.
    if (gInverse) {
      const cube = mul(inverse, mul(inverse, inverse));
      dx.push(mul(x, mul(mul(gInverse, cube), -1 / dimension(x.shape, -1))));
    }
    return [dx.reduce((a, b) => add(a, b)), g && sumTo(mul(g, mul(x, inverse)), weight.shape)];
  },
  // ONNX has RMSNormalization without the second output; ONNX Runtime's own operator has it.
  lower: (builder, inputs, { attrs }) =>
    builder.node(
      "SimplifiedLayerNormalization",
      inputs,
      { axis: -1, epsilon: { float: attrs.eps } },
      { outputs: 2 },
    ),
  needs: "SimplifiedLayerNormalization",
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [2, 3, 8] },
        { dtype: "float32", shape: [8] },
      ],
      attrs: { eps: 1e-5 },
    },
  ],
};

/** dx = σ⁻¹·ĝ - σ⁻³·mean(ĝ·x)·x with ĝ = g·weight and σ⁻¹ the inverse root mean square of the row. */
export const rmsNormGradOp: CompositeOp<None> = {
  kind: "composite",
  rowwise: true,
  name: "rmsNormGrad",
  infer: ([, x]) => [{ dtype: "float32", shape: x!.shape }],
  decompose: ([g, x, weight, inverse]) => {
    const scaled = mul(g!, weight!);
    const projection = neg(
      mul(mul(inverse!, mul(inverse!, inverse!)), mean(mul(scaled, x!), LAST)),
    );
    return [add(mul(scaled, inverse!), mul(x!, projection))];
  },
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [3, 8] },
        { dtype: "float32", shape: [3, 8] },
        { dtype: "float32", shape: [8] },
        { dtype: "float32", shape: [3, 1], range: [0.5, 2] },
      ],
      attrs: {},
    },
  ],
};

/** Root-mean-square normalization over the last axis: `x / √(mean(x²) + eps) · weight`.
 * x: [..., C], weight: [C] → [..., C]. Source: https://arxiv.org/abs/1910.07467 */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  return apply(rmsNormOp, [x, weight], { eps })[0]!;
}

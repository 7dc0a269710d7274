/**
 * @file What a model is written with: normalization, softmax, losses. Each is defined by
 * primitives (`decompose`), which is its meaning; a closed-form gradient and a direct lowering, where
 * given, compute the same faster. Activations are in activations.ts, RMS normalization in rms-norm.ts.
 */
import { LowrankError } from "../errors.ts";
import { apply, applyOne, type Tensor } from "../graph/node.ts";
import { NONE, sameType, type CompositeOp, type None } from "../graph/op.ts";
import { dimension, formatShape, sizeOf, type Shape } from "../graph/shape.ts";
import {
  add,
  cast,
  div,
  exp,
  log,
  maximum,
  mul,
  neg,
  sqrt,
  sub,
  where,
  equal,
} from "./elementwise.ts";
import { gather, pick } from "./indexing.ts";
import { matmul } from "./matmul.ts";
import { broadcastTo } from "./movement.ts";
import { max, mean, sum, sumTo } from "./reduce.ts";

const LAST = { axes: [-1], keepDims: true } as const;

// ---------------------------------------------------------------- softmax

export const softmaxOp: CompositeOp<None> = {
  kind: "composite",
  rowwise: true,
  name: "softmax",
  infer: sameType,
  decompose: ([x]) => {
    const e = exp(sub(x!, max(x!, LAST)));
    return [div(e, sum(e, LAST))];
  },
  vjp: (node, [g]) => [g && applyOne(softmaxGradOp, [g, node.outputs[0]!], NONE)],
  lower: (builder, inputs) => builder.node("Softmax", inputs, { axis: -1 }),
  samples: [{ inputs: [{ dtype: "float32", shape: [2, 3, 5] }], attrs: NONE }],
};

/** dx = y · (g - Σ g·y) */
export const softmaxGradOp: CompositeOp<None> = {
  kind: "composite",
  rowwise: true,
  name: "softmaxGrad",
  infer: sameType,
  decompose: ([g, y]) => {
    const gy = mul(g!, y!);
    return [sub(gy, mul(y!, sum(gy, LAST)))];
  },
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [2, 5] },
        { dtype: "float32", shape: [2, 5] },
      ],
      attrs: NONE,
    },
  ],
};

/** exp(x) / Σ exp(x) over the last axis. */
export const softmax = (x: Tensor): Tensor => applyOne(softmaxOp, [x], NONE);

export const logSoftmaxOp: CompositeOp<None> = {
  kind: "composite",
  rowwise: true,
  name: "logSoftmax",
  infer: sameType,
  decompose: ([x]) => {
    const shifted = sub(x!, max(x!, LAST));
    return [sub(shifted, log(sum(exp(shifted), LAST)))];
  },
  vjp: (node, [g]) => [g && sub(g, mul(softmax(node.inputs[0]!), sum(g, LAST)))],
  lower: (builder, inputs) => builder.node("LogSoftmax", inputs, { axis: -1 }),
  needs: "LogSoftmax",
  samples: [{ inputs: [{ dtype: "float32", shape: [2, 3, 5] }], attrs: NONE }],
};

/** log of softmax over the last axis, computed without overflow. */
export const logSoftmax = (x: Tensor): Tensor => applyOne(logSoftmaxOp, [x], NONE);

// ---------------------------------------------------------------- normalization

export interface LayerNormAttrs {
  readonly eps: number;
}

/** Outputs y, and the mean and 1/√(variance + eps) of each row for the gradient. */
export const layerNormOp: CompositeOp<LayerNormAttrs> = {
  kind: "composite",
  rowwise: true,
  name: "layerNorm",
  infer: ([x, weight, bias]) => {
    const width = dimension(x!.shape, -1);
    for (const parameter of [weight!, bias!]) {
      if (sizeOf(parameter.shape) !== width) {
        throw new LowrankError(
          "graph",
          `layerNorm: weight and bias must be [${width}], got ${formatShape(parameter.shape)}.`,
        );
      }
    }
    const row: Shape = x!.shape.with(x!.shape.length - 1, 1);
    return [
      { dtype: "float32", shape: x!.shape },
      { dtype: "float32", shape: row },
      { dtype: "float32", shape: row },
    ];
  },
  decompose: ([x, weight, bias], { eps }) => {
    const mu = mean(x!, LAST);
    const centred = sub(x!, mu);
    const inverse = div(1, sqrt(add(mean(mul(centred, centred), LAST), eps)));
    return [add(mul(mul(centred, inverse), weight!), bias!), mu, inverse];
  },
  vjp: (node, [g, gMean, gInverse]) => {
    const [x, weight, bias] = node.inputs as [Tensor, Tensor, Tensor];
    const [, mu, inverse] = node.outputs as [Tensor, Tensor, Tensor];
    const centred = sub(x, mu);
    const dx = g ? [applyOne(layerNormGradOp, [g, x, weight, mu, inverse], NONE)] : [];
    // Only gradients read the statistics, so these two are parts of second derivatives:
    // dμ/dx = 1/C, dσ⁻¹/dx = -σ⁻³·(x - μ)/C.
    const width = dimension(x.shape, -1);
    if (gMean) dx.push(broadcastTo(mul(gMean, 1 / width), x.shape));
    if (gInverse) {
      const cube = mul(inverse, mul(inverse, inverse));
      dx.push(mul(centred, mul(mul(gInverse, cube), -1 / width)));
    }
    return [
      dx.reduce((a, b) => add(a, b)),
      g && sumTo(mul(g, mul(centred, inverse)), weight.shape),
      g && sumTo(g, bias.shape),
    ];
  },
  lower: (builder, inputs, { attrs }) =>
    builder.node(
      "LayerNormalization",
      inputs,
      { axis: -1, epsilon: { float: attrs.eps } },
      { outputs: 3 },
    ),
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [2, 3, 8] },
        { dtype: "float32", shape: [8] },
        { dtype: "float32", shape: [8] },
      ],
      attrs: { eps: 1e-5 },
    },
  ],
};

/**
 * dx = a·ĝ + b·x + c with ĝ = g·weight and numbers a, b, c per row: a = σ⁻¹,
 * b = -a³·(mean(ĝ·x) - μ·mean(ĝ)), c = -b·μ - a·mean(ĝ). It is σ⁻¹·(ĝ - mean(ĝ) - x̂·mean(ĝ·x̂)), x̂ the
 * normalized x, multiplied out: fewer passes over the rows, and the form that PyTorch computes.
 */
export const layerNormGradOp: CompositeOp<None> = {
  kind: "composite",
  rowwise: true,
  name: "layerNormGrad",
  infer: sameType,
  decompose: ([g, x, weight, mu, inverse]) => {
    const scaled = mul(g!, weight!);
    const meanScaled = mean(scaled, LAST);
    const covariance = sub(mean(mul(scaled, x!), LAST), mul(mu!, meanScaled));
    const b = neg(mul(mul(inverse!, mul(inverse!, inverse!)), covariance));
    const c = neg(add(mul(b, mu!), mul(inverse!, meanScaled)));
    return [add(add(mul(scaled, inverse!), mul(x!, b)), c)];
  },
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [3, 8] },
        { dtype: "float32", shape: [3, 8] },
        { dtype: "float32", shape: [8] },
        { dtype: "float32", shape: [3, 1] },
        { dtype: "float32", shape: [3, 1], range: [0.5, 2] },
      ],
      attrs: NONE,
    },
  ],
};

/** Layer normalization over the last axis: `(x - mean) / √(variance + eps) · weight + bias`.
 * x: [..., C], weight, bias: [C] → [..., C]. Source: https://arxiv.org/abs/1607.06450 */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  return apply(layerNormOp, [x, weight, bias], { eps })[0]!;
}

// ---------------------------------------------------------------- linear maps and losses

/** `x · weightᵀ + bias`: x [..., in], weight [out, in] → [..., out]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const y = matmul(x, weight, { transposeB: true });
  return bias ? add(y, bias) : y;
}

/** The label that takes no part in a loss, as in PyTorch and transformers. */
export const IGNORED_LABEL = -100;

/** -log p(label), weighted by the class weight of its label where weights are given: logits [..., V],
 * labels int32 [...] → [...]. It is 0 where the label is -100. */
export function crossEntropy(logits: Tensor, labels: Tensor, classWeights?: Tensor): Tensor {
  const counted = sub(1, cast(equal(labels, IGNORED_LABEL), "float32"));
  const index = where(equal(labels, IGNORED_LABEL), 0, labels);
  const losses = neg(pick(logSoftmax(logits), index));
  const weighted = classWeights ? mul(losses, gather(classWeights, index)) : losses;
  return mul(weighted, counted);
}

/** The sum of `crossEntropy`: a scalar. */
export function crossEntropySum(logits: Tensor, labels: Tensor, classWeights?: Tensor): Tensor {
  return sum(crossEntropy(logits, labels, classWeights));
}

/** Sum of (prediction - target)². Targets that are NaN count nothing. */
export function squaredErrorSum(prediction: Tensor, target: Tensor): Tensor {
  const known = equal(target, target);
  const error = where(known, sub(prediction, where(known, target, 0)), 0);
  return sum(mul(error, error));
}

/** Sum of max(x, 0) - x·y + log(1 + exp(-|x|)): binary cross-entropy with logits x, targets y. Targets
 * that are NaN count nothing. */
export function binaryCrossEntropySum(logits: Tensor, targets: Tensor): Tensor {
  const known = equal(targets, targets);
  const magnitude = maximum(logits, neg(logits));
  const softplus = log(add(exp(neg(magnitude)), 1));
  const linearPart = sub(maximum(logits, 0), mul(logits, where(known, targets, 0)));
  return sum(where(known, add(linearPart, softplus), 0));
}

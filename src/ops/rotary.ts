/** @file Rotation of pairs of features, the arithmetic of rotary position embeddings (nn/rotary.ts). */
import { LowrankError } from "../errors.ts";
import { applyOne, type Tensor } from "../graph/node.ts";
import { NONE, type CompositeOp, type None } from "../graph/op.ts";
import { dimension, formatShape, sameShape } from "../graph/shape.ts";
import { add, mul, neg, sub } from "./elementwise.ts";
import { concat, slice, split } from "./movement.ts";
import { sumTo } from "./reduce.ts";

/** The first R features in two halves, and the rest where R < D. */
function halves(x: Tensor, cos: Tensor): { first: Tensor; second: Tensor; rest: Tensor[] } {
  const [width, rotated] = [dimension(x.shape, -1), 2 * dimension(cos.shape, -1)];
  const [first, second] = split(slice(x, -1, 0, rotated), 2, -1) as [Tensor, Tensor];
  return { first, second, rest: rotated < width ? [slice(x, -1, rotated, width)] : [] };
}

export const rotateOp: CompositeOp<None> = {
  kind: "composite",
  name: "rotate",
  infer: ([x, cos, sin]) => {
    const [batch, , length, width] = x!.shape as [number, number, number, number];
    const [angles] = cos!.shape.slice(-1) as [number];
    const expected = [cos!.shape[0] === 1 ? 1 : batch, 1, length, angles];
    if (x!.shape.length !== 4 || 2 * angles > width || !sameShape(cos!.shape, expected)) {
      throw new LowrankError(
        "graph",
        "rotate: expected x [B, H, T, D] and cos [B or 1, 1, T, R/2] with R ≤ D, " +
          `got ${formatShape(x!.shape)} and ${formatShape(cos!.shape)}.`,
      );
    }
    if (!sameShape(sin!.shape, cos!.shape)) {
      throw new LowrankError(
        "graph",
        `rotate: sin must have cos's shape ${formatShape(cos!.shape)}, got ${formatShape(sin!.shape)}.`,
      );
    }
    return [{ dtype: "float32", shape: x!.shape }];
  },
  decompose: ([x, cos, sin]) => {
    const { first, second, rest } = halves(x!, cos!);
    const rotated = [
      sub(mul(first, cos!), mul(second, sin!)),
      add(mul(second, cos!), mul(first, sin!)),
    ];
    return [concat([...rotated, ...rest], -1)];
  },
  // The gradient of a rotation is the rotation back.
  vjp: (node, [g]) => {
    if (!g) return [undefined, undefined, undefined];
    const [x, cos, sin] = node.inputs as [Tensor, Tensor, Tensor];
    const [a, b] = [halves(x, cos), halves(g, cos)];
    const dCos = add(mul(a.first, b.first), mul(a.second, b.second));
    const dSin = sub(mul(a.first, b.second), mul(a.second, b.first));
    return [rotate(g, cos, neg(sin)), sumTo(dCos, cos.shape), sumTo(dSin, sin.shape)];
  },
  // The operator looks its angles up by position in a table [rows, R/2]; ours is the table of exactly the
  // positions wanted: all sequences share its rows from 0 on, or each has its own.
  lower: (builder, [x, cos, sin], { inputs: [xType, cosType] }) => {
    const [batch, heads, length] = xType!.shape as [number, number, number];
    const angles = dimension(cosType!.shape, -1);
    const table = (values: string): string =>
      builder.node("Reshape", [values, builder.constant("int64", [2], [-1, angles])])[0]!;
    const ownRows = (): string => {
      const [start, step] = [0, 1].map((value) => builder.constant("int64", [], [value]));
      const [end] = builder.node("Squeeze", [builder.shape([batch * length])]);
      const [rows] = builder.node("Range", [start!, end!, step!]);
      return builder.node("Reshape", [rows!, builder.constant("int64", [2], [batch, -1])])[0]!;
    };
    const rows = cosType!.shape[0] === 1 ? builder.constant("int64", [1], [0]) : ownRows();
    return builder.node(
      "RotaryEmbedding",
      [x!, rows, table(cos!), table(sin!)],
      { num_heads: heads, rotary_embedding_dim: 2 * angles },
      { domain: "com.microsoft" },
    );
  },
  needs: "com.microsoft.RotaryEmbedding",
  samples: [1, 2].flatMap((batch) =>
    [2, 3].map((angles) => ({
      inputs: [
        { dtype: "float32" as const, shape: [2, 3, 4, 6] },
        { dtype: "float32" as const, shape: [batch, 1, 4, angles] },
        { dtype: "float32" as const, shape: [batch, 1, 4, angles] },
      ],
      attrs: {},
    })),
  ),
};

/**
 * Rotate pairs of features: with the first R features in halves (x₁, x₂), the result is
 * (x₁·cos - x₂·sin, x₂·cos + x₁·sin), and the others as they are. x [B, H, T, D], cos and sin
 * [B or 1, 1, T, R/2] → [B, H, T, D]. Source: https://arxiv.org/abs/2104.09864
 */
export function rotate(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  return applyOne(rotateOp, [x, cos, sin], NONE);
}

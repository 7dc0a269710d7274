/** @file Matrix multiplication, and the fused form that ONNX calls Gemm. */
import { LowrankError } from "../errors.ts";
import { applyOne, type Node, type Tensor } from "../graph/node.ts";
import type { CompositeOp, OnnxBuilder, PrimitiveOp } from "../graph/op.ts";
import {
  broadcastShapes,
  dimension,
  formatShape,
  sameShape,
  sizeOf,
  type Shape,
} from "../graph/shape.ts";
import { add, mul } from "./elementwise.ts";
import { reshape, reshapeTarget } from "./movement.ts";
import { sumTo } from "./reduce.ts";

export interface MatmulAttrs {
  /** Multiply by the transpose (of the last two axes) of a. */
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

function matmulShape(a: Shape, b: Shape, { transposeA, transposeB }: MatmulAttrs): Shape {
  if (a.length < 2 || b.length < 2) {
    throw new LowrankError(
      "graph",
      `matmul: operands need two axes or more, got ${formatShape(a)} and ${formatShape(b)}.`,
    );
  }
  const [rows, inner] = transposeA ? [-1, -2] : [-2, -1];
  const [innerB, columns] = transposeB ? [-1, -2] : [-2, -1];
  if (dimension(a, inner) !== dimension(b, innerB)) {
    throw new LowrankError(
      "graph",
      `matmul: inner dimensions must agree, got ${formatShape(a)}${transposeA ? "ᵀ" : ""} and ` +
        `${formatShape(b)}${transposeB ? "ᵀ" : ""}.`,
    );
  }
  const batch = broadcastShapes("matmul", a.slice(0, -2), b.slice(0, -2));
  return [...batch, dimension(a, rows), dimension(b, columns)];
}

/** Whether a product is one matrix by one matrix, however many rows' axes a has. */
function isFlat(a: Shape, b: Shape, { transposeA }: MatmulAttrs): boolean {
  return b.length === 2 && (a.length === 2 || !transposeA);
}

export const matmulOp: PrimitiveOp<MatmulAttrs> = {
  kind: "primitive",
  name: "matmul",
  infer: ([a, b], attrs) => {
    if (a!.dtype !== "float32" || b!.dtype !== "float32") {
      throw new LowrankError("graph", `matmul: expected float32, got ${a!.dtype} and ${b!.dtype}.`);
    }
    return [{ dtype: "float32", shape: matmulShape(a!.shape, b!.shape, attrs) }];
  },
  // y = op(a) op(b): with plain operands da = g bᵀ and db = aᵀ g; a transposed operand gets the
  // transpose of that, written without a transposition of its own.
  vjp: (node, [g]) => {
    if (!g) return [undefined, undefined];
    const [a, b] = node.inputs as [Tensor, Tensor];
    const { transposeA, transposeB } = node.attrs;
    const da = transposeA
      ? matmul(b, g, { transposeA: transposeB, transposeB: true })
      : matmul(g, b, { transposeB: !transposeB });
    const flat = isFlat(a.shape, b.shape, node.attrs);
    const [a2, g2] = flat ? [asMatrix(a), asMatrix(g)] : [a, g];
    const db = transposeB
      ? matmul(g2, a2, { transposeA: true, transposeB: transposeA })
      : matmul(a2, g2, { transposeA: !transposeA });
    return [sumTo(da, a.shape), sumTo(db, b.shape)];
  },
  lower: (builder, inputs, node) => [
    lowerProduct(builder, inputs, node, { alpha: 1, ...node.attrs }),
  ],
  samples: [
    ...[false, true].flatMap((transposeA) =>
      [false, true].map((transposeB) => ({
        inputs: [
          { dtype: "float32" as const, shape: transposeA ? [2, 3, 4] : [2, 4, 3] },
          { dtype: "float32" as const, shape: transposeB ? [2, 5, 3] : [2, 3, 5] },
        ],
        attrs: { transposeA, transposeB },
      })),
    ),
    {
      inputs: [
        { dtype: "float32", shape: [2, 4, 3] },
        { dtype: "float32", shape: [3, 5] },
      ],
      attrs: { transposeA: false, transposeB: false },
    },
    {
      inputs: [
        { dtype: "float32", shape: [3, 4] },
        { dtype: "float32", shape: [5, 3] },
      ],
      attrs: { transposeA: true, transposeB: true },
    },
    {
      inputs: [
        { dtype: "float32", shape: [2, 1, 4, 3] },
        { dtype: "float32", shape: [2, 3, 5] },
      ],
      attrs: { transposeA: false, transposeB: false },
    },
  ],
};

/** All axes but the last as rows. */
function asMatrix(x: Tensor): Tensor {
  return reshape(x, [-1, dimension(x.shape, -1)]);
}

function flatten(builder: OnnxBuilder, x: string, shape: Shape): string {
  if (shape.length === 2) return x;
  return builder.node("Reshape", [
    x,
    builder.constant("int64", [2], [-1, dimension(shape, -1)]),
  ])[0]!;
}

function unflatten(builder: OnnxBuilder, x: string, shape: Shape): string {
  if (shape.length === 2) return x;
  return builder.node("Reshape", [x, reshapeTarget(builder, shape)])[0]!;
}

/** `alpha · op(a) · op(b) + c`: a Gemm where it is one matrix by one matrix, else a product over batches, without c. */
function lowerProduct(
  builder: OnnxBuilder,
  [a, b, c]: readonly string[],
  { inputs, outputs }: Node,
  { alpha, ...attrs }: GemmAttrs,
): string {
  const [aShape, bShape, cShape] = inputs.map((tensor) => tensor.shape) as [Shape, Shape, Shape?];
  const { shape } = outputs[0]!;
  const { transposeA, transposeB } = attrs;
  const attributes = {
    ...(alpha === 1 ? {} : { alpha: { float: alpha } }),
    ...(transposeA ? { transA: 1 } : {}),
    ...(transposeB ? { transB: 1 } : {}),
  };
  if (isFlat(aShape, bShape, attrs)) {
    // A c with the result's full shape is seen as the matrix that Gemm computes.
    const matrix = cShape && sameShape(cShape, shape) ? flatten(builder, c!, cShape) : c;
    const operands = [flatten(builder, a!, aShape), b!, ...(matrix === undefined ? [] : [matrix])];
    const [y] = builder.node("Gemm", operands, attributes);
    return unflatten(builder, y!, shape);
  }
  if (Object.keys(attributes).length === 0) return builder.node("MatMul", [a!, b!])[0]!;
  if (builder.runs("com.microsoft.FusedMatMul", "float32")) {
    return builder.node("FusedMatMul", [a!, b!], attributes, { domain: "com.microsoft" })[0]!;
  }
  const [y] = builder.node("MatMul", [
    transposeA ? swapLastAxes(builder, a!, aShape) : a!,
    transposeB ? swapLastAxes(builder, b!, bShape) : b!,
  ]);
  if (alpha === 1) return y!;
  return builder.node("Mul", [y!, builder.constant("float32", [], [alpha])])[0]!;
}

function swapLastAxes(builder: OnnxBuilder, x: string, { length: rank }: Shape): string {
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  return builder.node("Transpose", [x], { perm: [...axes.slice(0, -2), rank - 1, rank - 2] })[0]!;
}

/** `op(a) · op(b)`: a: [..., M, K], b: [..., K, N] → [..., M, N], batch axes broadcast. */
export function matmul(a: Tensor, b: Tensor, attrs: Partial<MatmulAttrs> = {}): Tensor {
  const { transposeA = false, transposeB = false } = attrs;
  return applyOne(matmulOp, [a, b], { transposeA, transposeB });
}

export interface GemmAttrs extends MatmulAttrs {
  readonly alpha: number;
}

/**
 * `alpha · op(a) · op(b) + c`, c broadcasting to the result or absent. The form that the fusion pass
 * gives to additions and scalings of products; not meant to be written by hand.
 */
export const gemmOp: CompositeOp<GemmAttrs> = {
  kind: "composite",
  name: "gemm",
  infer: ([a, b, c], attrs) => {
    const shape = matmulShape(a!.shape, b!.shape, attrs);
    if (c && !sameShape(broadcastShapes("gemm", shape, c.shape), shape)) {
      throw new LowrankError(
        "graph",
        `gemm: c ${formatShape(c.shape)} must broadcast to ${formatShape(shape)}.`,
      );
    }
    return [{ dtype: "float32", shape }];
  },
  decompose: ([a, b, c], { alpha, transposeA, transposeB }) => {
    const product = matmul(a!, b!, { transposeA, transposeB });
    const scaled = alpha === 1 ? product : mul(product, alpha);
    return [c ? add(scaled, c) : scaled];
  },
  lower: (builder, inputs, node) => [lowerProduct(builder, inputs, node, node.attrs)],
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [2, 4, 3] },
        { dtype: "float32", shape: [3, 5] },
        { dtype: "float32", shape: [2, 4, 5] },
      ],
      attrs: { alpha: 0.5, transposeA: false, transposeB: false },
    },
    {
      inputs: [
        { dtype: "float32", shape: [4, 3] },
        { dtype: "float32", shape: [5, 3] },
        { dtype: "float32", shape: [5] },
      ],
      attrs: { alpha: 1, transposeA: false, transposeB: true },
    },
    {
      inputs: [
        { dtype: "float32", shape: [2, 2, 4, 3] },
        { dtype: "float32", shape: [2, 2, 5, 3] },
      ],
      attrs: { alpha: 0.25, transposeA: false, transposeB: true },
    },
  ],
};

/** Whether ONNX's Gemm can take `c` as its third operand: one matrix by one matrix, and c a full
 * matrix, one row, or one row's worth of columns. */
export function gemmAccepts(a: Tensor, b: Tensor, c: Tensor, attrs: MatmulAttrs): boolean {
  if (!isFlat(a.shape, b.shape, attrs)) return false;
  const shape = matmulShape(a.shape, b.shape, attrs);
  return (
    sameShape(c.shape, shape) ||
    (sizeOf(c.shape) === shape.at(-1) && c.shape.at(-1) === shape.at(-1) && c.shape.length <= 2)
  );
}

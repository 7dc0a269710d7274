/** @file Reductions over axes. */
import { LowrankError } from "../errors.ts";
import { isDynamic } from "../graph/dynamic.ts";
import { applyOne, type Tensor } from "../graph/node.ts";
import { NONE, type CompositeOp, type None, type PrimitiveOp, type Sample } from "../graph/op.ts";
import { normalizeAxis, sameShape, sizeOf, type Shape } from "../graph/shape.ts";
import { cast, equal, mul } from "./elementwise.ts";
import { broadcastTo, reshape } from "./movement.ts";

export interface ReduceAttrs {
  /** Sorted, counted from the front. */
  readonly axes: readonly number[];
  readonly keepDims: boolean;
}

function reduceOp(
  name: string,
  opType: string,
  vjp: (g: Tensor, x: Tensor, y: Tensor) => Tensor,
): PrimitiveOp<ReduceAttrs> {
  return {
    kind: "primitive",
    name,
    infer: ([x], attrs) => [{ dtype: x!.dtype, shape: reducedShape(x!.shape, attrs) }],
    vjp: (node, [g]) => {
      if (!g) return [undefined];
      const x = node.inputs[0]!;
      const kept = reducedShape(x.shape, { ...node.attrs, keepDims: true });
      return [vjp(reshape(g, kept), x, reshape(node.outputs[0]!, kept))];
    },
    lower: (builder, inputs, { attrs }) => {
      // ReduceSum takes its axes as an input since opset 13, the others since 18.
      const axes = builder.constant("int64", [attrs.axes.length], attrs.axes);
      return builder.node(opType, [inputs[0]!, axes], { keepdims: attrs.keepDims ? 1 : 0 });
    },
    samples: SAMPLES,
  };
}

const SAMPLES: Sample<ReduceAttrs>[] = [
  { inputs: [{ dtype: "float32", shape: [2, 3, 4] }], attrs: { axes: [2], keepDims: true } },
  { inputs: [{ dtype: "float32", shape: [2, 3, 4] }], attrs: { axes: [0, 1], keepDims: false } },
];

function reducedShape(shape: Shape, { axes, keepDims }: ReduceAttrs): Shape {
  return shape.flatMap((dim, axis) => (axes.includes(axis) ? (keepDims ? [1] : []) : [dim]));
}

export const sumOp = reduceOp("sum", "ReduceSum", (g, x) => broadcastTo(g, x.shape));

export const meanOp = reduceOp("mean", "ReduceMean", (g, x) => {
  const reduced = x.shape.filter((dim, axis) => g.shape[axis] !== dim);
  if (reduced.some(isDynamic)) {
    throw new LowrankError(
      "graph",
      "mean: an axis of dynamic length cannot be differentiated. Use sum.",
    );
  }
  const count = sizeOf(reduced);
  return broadcastTo(mul(g, 1 / count), x.shape);
});

/** The gradient goes to every element that equals the maximum; PyTorch's `max` picks one of them,
 * which differs only on exact ties. */
export const maxOp = reduceOp("max", "ReduceMax", (g, x, y) =>
  mul(g, cast(equal(x, y), "float32")),
);

/** What `sum`, `mean` and `max` reduce. */
export interface ReduceOptions {
  /** Default: all axes. */
  axes?: readonly number[];
  /** Keep reduced axes with size 1. Default false. */
  keepDims?: boolean;
}

function reduce(op: PrimitiveOp<ReduceAttrs>, x: Tensor, options: ReduceOptions): Tensor {
  const axes = (options.axes ?? x.shape.map((_, axis) => axis))
    .map((axis) => normalizeAxis(op.name, axis, x.shape.length))
    .sort((a, b) => a - b);
  if (axes.length === 0) return x;
  return applyOne(op, [x], { axes, keepDims: options.keepDims ?? false });
}

/** Sum over some axes, or all. */
export const sum = (x: Tensor, options: ReduceOptions = {}): Tensor => reduce(sumOp, x, options);
/** Mean over some axes, or all. */
export const mean = (x: Tensor, options: ReduceOptions = {}): Tensor => reduce(meanOp, x, options);
/** Largest value over some axes, or all. */
export const max = (x: Tensor, options: ReduceOptions = {}): Tensor => reduce(maxOp, x, options);

export const sumOfSquaresOp: CompositeOp<None> = {
  kind: "composite",
  name: "sumOfSquares",
  infer: () => [{ dtype: "float32", shape: [] }],
  decompose: ([x]) => [sum(sum(mul(x!, x!), { axes: [-1] }))],
  lower: (builder, inputs, { inputs: [x] }) => {
    const last = x!.shape.length - 1;
    const axis = builder.constant("int64", [1], [last]);
    const rows = builder.node("ReduceSumSquare", [inputs[0]!, axis], { keepdims: 0 });
    if (last === 0) return rows;
    const others = builder.constant("int64", [last], [...Array(last).keys()]);
    return builder.node("ReduceSum", [rows[0]!, others], { keepdims: 0 });
  },
  needs: "ReduceSumSquare",
  samples: [
    { inputs: [{ dtype: "float32", shape: [2, 3, 4] }], attrs: {} },
    { inputs: [{ dtype: "float32", shape: [5] }], attrs: {} },
  ],
};

/** Σ x² over all elements: a scalar. Rows first: one sum over millions in float32 would lose digits. */
export function sumOfSquares(x: Tensor): Tensor {
  return applyOne(sumOfSquaresOp, [x], NONE);
}

/** Sum a tensor over the dimensions that broadcasting had expanded from `shape`. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const lead = x.shape.length - shape.length;
  const axes = x.shape.flatMap((dim, axis) =>
    axis < lead || (shape[axis - lead] === 1 && dim !== 1) ? [axis] : [],
  );
  return reshape(sum(x, { axes, keepDims: true }), shape);
}

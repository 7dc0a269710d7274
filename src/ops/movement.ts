/** @file Primitives that move elements without computing: reshape, transpose, broadcast, slice,
 * pad, concat. */
import { LowrankError } from "../errors.ts";
import { isDynamic } from "../graph/dynamic.ts";
import { scalar } from "../graph/leaves.ts";
import { apply, applyOne, type Tensor } from "../graph/node.ts";
import type { OnnxBuilder, PrimitiveOp } from "../graph/op.ts";
import {
  broadcastShapes,
  formatShape,
  normalizeAxis,
  sameShape,
  sizeOf,
  type Shape,
} from "../graph/shape.ts";
import { sumTo } from "./reduce.ts";

export interface ShapeAttrs {
  readonly shape: Shape;
}

/** The shape to give Reshape: a single dynamic dimension is left to be inferred. */
export function reshapeTarget(builder: OnnxBuilder, shape: Shape): string {
  const dynamic = shape.filter(isDynamic).length;
  return builder.shape(dynamic === 1 ? shape.map((dim) => (isDynamic(dim) ? -1 : dim)) : shape);
}

export const reshapeOp: PrimitiveOp<ShapeAttrs> = {
  kind: "primitive",
  name: "reshape",
  infer: ([x], { shape }) => {
    if (sizeOf(x!.shape) !== sizeOf(shape)) {
      throw new LowrankError(
        "graph",
        `reshape: expected ${sizeOf(x!.shape)} elements as in ${formatShape(x!.shape)}, got ${formatShape(shape)}.`,
      );
    }
    return [{ dtype: x!.dtype, shape }];
  },
  vjp: (node, [g]) => [g && reshape(g, node.inputs[0]!.shape)],
  lower: (builder, [x], { attrs }) =>
    builder.node("Reshape", [x!, reshapeTarget(builder, attrs.shape)]),
  samples: [
    { inputs: [{ dtype: "float32", shape: [2, 6] }], attrs: { shape: [3, 4] } },
    { inputs: [{ dtype: "float32", shape: [1] }], attrs: { shape: [] } },
  ],
};

/** The same elements in row-major order under another shape; one dimension may be -1. */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = shape.reduce((product, dim) => (dim === -1 ? product : product * dim), 1);
  const full = shape.map((dim) => (dim === -1 ? sizeOf(x.shape) / known : dim));
  return sameShape(x.shape, full) ? x : applyOne(reshapeOp, [x], { shape: full });
}

export interface TransposeAttrs {
  readonly permutation: readonly number[];
}

export const transposeOp: PrimitiveOp<TransposeAttrs> = {
  kind: "primitive",
  name: "transpose",
  infer: ([x], { permutation }) => {
    const sorted = [...permutation].sort((a, b) => a - b);
    if (permutation.length !== x!.shape.length || sorted.some((axis, i) => axis !== i)) {
      throw new LowrankError(
        "graph",
        `transpose: expected a permutation of ${x!.shape.length} axes, got [${permutation.join(", ")}].`,
      );
    }
    return [{ dtype: x!.dtype, shape: permutation.map((axis) => x!.shape[axis]!) }];
  },
  vjp: (node, [g]) => {
    const inverse = node.attrs.permutation.map((_, axis) => node.attrs.permutation.indexOf(axis));
    return [g && transpose(g, inverse)];
  },
  lower: (builder, inputs, { attrs }) =>
    builder.node("Transpose", inputs, { perm: attrs.permutation }),
  samples: [
    { inputs: [{ dtype: "float32", shape: [2, 3, 4] }], attrs: { permutation: [2, 0, 1] } },
  ],
};

/** Axis i of the result is axis `permutation[i]` of x. Default: swap the last two axes. */
export function transpose(x: Tensor, permutation?: readonly number[]): Tensor {
  const axes = x.shape.map((_, axis) => axis);
  const swapped = [...axes.slice(0, -2), axes.at(-1)!, axes.at(-2)!];
  return applyOne(transposeOp, [x], { permutation: permutation ?? swapped });
}

export const broadcastToOp: PrimitiveOp<ShapeAttrs> = {
  kind: "primitive",
  name: "broadcastTo",
  infer: ([x], { shape }) => {
    if (!sameShape(broadcastShapes("broadcastTo", x!.shape, shape), shape)) {
      throw new LowrankError(
        "graph",
        `broadcastTo: ${formatShape(x!.shape)} does not broadcast to ${formatShape(shape)}.`,
      );
    }
    return [{ dtype: x!.dtype, shape }];
  },
  vjp: (node, [g]) => [g && sumTo(g, node.inputs[0]!.shape)],
  lower: (builder, [x], { attrs }) => builder.node("Expand", [x!, builder.shape(attrs.shape)]),
  samples: [{ inputs: [{ dtype: "float32", shape: [3, 1] }], attrs: { shape: [2, 3, 4] } }],
};

/** Repeat a tensor along dimensions of size 1, or missing in front, until it has this shape. Throws
 * LowrankError("graph") where it cannot. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  return sameShape(x.shape, shape) ? x : applyOne(broadcastToOp, [x], { shape });
}

export interface SliceAttrs {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
}

export const sliceOp: PrimitiveOp<SliceAttrs> = {
  kind: "primitive",
  name: "slice",
  infer: ([x], { axis, start, end }) => {
    if (!(start >= 0 && start <= end && end <= x!.shape[axis]!)) {
      throw new LowrankError(
        "graph",
        `slice: ${start}:${end} is out of range for axis ${axis} of ${formatShape(x!.shape)}.`,
      );
    }
    return [{ dtype: x!.dtype, shape: x!.shape.with(axis, end - start) }];
  },
  vjp: (node, [g]) => {
    const { axis, start, end } = node.attrs;
    return [g && pad(g, axis, start, node.inputs[0]!.shape[axis]! - end)];
  },
  lower: (builder, [x], { attrs: { axis, start, end }, inputs }) => {
    if (builder.runs("Slice", inputs[0]!.dtype)) {
      const [starts, ends, axes] = [start, end, axis].map((at) => builder.shape([at]));
      return builder.node("Slice", [x!, starts!, ends!, axes!]);
    }
    const places = Int32Array.from({ length: end - start }, (_, i) => start + i);
    return builder.node("Gather", [x!, builder.constant("int32", [end - start], places)], { axis });
  },
  samples: [
    { inputs: [{ dtype: "float32", shape: [2, 5, 3] }], attrs: { axis: 1, start: 1, end: 4 } },
    {
      inputs: [{ dtype: "int32", shape: [2, 3], values: [1, 2, 3, 4, 5, 6] }],
      attrs: { axis: 1, start: 1, end: 3 },
    },
  ],
};

/** Elements start ≤ i < end along one axis. */
export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  const normalized = normalizeAxis("slice", axis, x.shape.length);
  if (start === 0 && end === x.shape[normalized]) return x;
  return applyOne(sliceOp, [x], { axis: normalized, start, end });
}

export interface SplitAttrs {
  readonly axis: number;
  readonly parts: number;
}

export const splitOp: PrimitiveOp<SplitAttrs> = {
  kind: "primitive",
  name: "split",
  infer: ([x], { axis, parts }) => {
    const size = x!.shape[axis]! / parts;
    if (!Number.isInteger(size)) {
      throw new LowrankError(
        "graph",
        `split: axis ${axis} of ${formatShape(x!.shape)} does not divide into ${parts} parts.`,
      );
    }
    return Array.from({ length: parts }, () => ({
      dtype: x!.dtype,
      shape: x!.shape.with(axis, size),
    }));
  },
  vjp: (node, cotangents) => {
    if (cotangents.every((g) => g === undefined)) return [undefined];
    const whole = cotangents.map((g, i) => g ?? broadcastTo(scalar(0), node.outputs[i]!.shape));
    return [concat(whole, node.attrs.axis)];
  },
  lower: (builder, inputs, { attrs }) =>
    builder.node(
      "Split",
      inputs,
      { axis: attrs.axis, num_outputs: attrs.parts },
      { outputs: attrs.parts },
    ),
  samples: [{ inputs: [{ dtype: "float32", shape: [2, 6, 2] }], attrs: { axis: 1, parts: 3 } }],
};

/** Cut an axis into equal parts. */
export function split(x: Tensor, parts: number, axis: number): readonly Tensor[] {
  if (parts === 1) return [x];
  return apply(splitOp, [x], { axis: normalizeAxis("split", axis, x.shape.length), parts });
}

export interface PadAttrs {
  readonly axis: number;
  readonly before: number;
  readonly after: number;
}

export const padOp: PrimitiveOp<PadAttrs> = {
  kind: "primitive",
  name: "pad",
  infer: ([x], { axis, before, after }) => [
    { dtype: x!.dtype, shape: x!.shape.with(axis, before + x!.shape[axis]! + after) },
  ],
  vjp: (node, [g]) => {
    const { axis, before } = node.attrs;
    return [g && slice(g, axis, before, before + node.inputs[0]!.shape[axis]!)];
  },
  lower: (builder, [x], { attrs, inputs }) => {
    const rank = inputs[0]!.shape.length;
    const pads = Array.from({ length: 2 * rank }, () => 0);
    pads[attrs.axis] = attrs.before;
    pads[rank + attrs.axis] = attrs.after;
    return builder.node("Pad", [x!, builder.shape(pads)]);
  },
  samples: [
    { inputs: [{ dtype: "float32", shape: [2, 3] }], attrs: { axis: 1, before: 2, after: 1 } },
  ],
};

/** Zeros before and after along one axis. */
export function pad(x: Tensor, axis: number, before: number, after: number): Tensor {
  return before === 0 && after === 0 ? x : applyOne(padOp, [x], { axis, before, after });
}

export interface ConcatAttrs {
  readonly axis: number;
}

export const concatOp: PrimitiveOp<ConcatAttrs> = {
  kind: "primitive",
  name: "concat",
  infer: (inputs, { axis }) => {
    const [first] = inputs as [Tensor];
    for (const x of inputs) {
      if (!sameShape(x.shape.with(axis, 0), first.shape.with(axis, 0)) || x.dtype !== first.dtype) {
        throw new LowrankError(
          "graph",
          `concat: inputs must agree except along axis ${axis}, got ` +
            `${inputs.map((t) => t.dtype + formatShape(t.shape)).join(", ")}.`,
        );
      }
    }
    const total = inputs.reduce((n, x) => n + x.shape[axis]!, 0);
    return [{ dtype: first.dtype, shape: first.shape.with(axis, total) }];
  },
  vjp: (node, [g]) => {
    if (!g) return node.inputs.map(() => undefined);
    let offset = 0;
    return node.inputs.map((x) => {
      const size = x.shape[node.attrs.axis]!;
      offset += size;
      return slice(g, node.attrs.axis, offset - size, offset);
    });
  },
  lower: (builder, inputs, { attrs }) => builder.node("Concat", inputs, { axis: attrs.axis }),
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [2, 3] },
        { dtype: "float32", shape: [2, 1] },
      ],
      attrs: { axis: 1 },
    },
  ],
};

/** Tensors one after the other along an axis; their other dimensions are equal. */
export function concat(inputs: readonly Tensor[], axis: number): Tensor {
  if (inputs.length === 1) return inputs[0]!;
  return applyOne(concatOp, inputs, {
    axis: normalizeAxis("concat", axis, inputs[0]!.shape.length),
  });
}

/** @file Reading and writing rows and elements by integer index (int32). */
import { LowrankError } from "../errors.ts";
import { ONNX_DTYPE } from "../graph/dtype.ts";
import { isDynamic } from "../graph/dynamic.ts";
import { applyOne, type Tensor } from "../graph/node.ts";
import {
  NONE,
  sameType,
  type CompositeOp,
  type None,
  type OnnxBuilder,
  type PrimitiveOp,
} from "../graph/op.ts";
import {
  dimension,
  formatShape,
  normalizeAxis,
  sameShape,
  sizeOf,
  type Shape,
} from "../graph/shape.ts";
import { add, equal, mul, sub, where } from "./elementwise.ts";
import { reshape } from "./movement.ts";
import { max } from "./reduce.ts";

function requireInt32(name: string, index: Tensor): void {
  if (index.dtype !== "int32") {
    throw new LowrankError("graph", `${name}: expected int32 indices, got ${index.dtype}.`);
  }
}

export interface GatherAttrs {
  /** An index whose row gets no gradient. */
  readonly paddingIdx?: number;
}

export const gatherOp: PrimitiveOp<GatherAttrs> = {
  kind: "primitive",
  name: "gather",
  infer: ([table, index]) => {
    requireInt32("gather", index!);
    return [{ dtype: table!.dtype, shape: [...index!.shape, ...table!.shape.slice(1)] }];
  },
  vjp: (node, [g]) => {
    const [table, index] = node.inputs as [Tensor, Tensor];
    if (!g) return [undefined, undefined];
    const row = table.shape.slice(1);
    const { paddingIdx } = node.attrs as GatherAttrs;
    const column = reshape(index, [...index.shape, ...row.map(() => 1)]);
    const counted = paddingIdx === undefined ? g : where(equal(column, paddingIdx), 0, g);
    const updates = reshape(counted, [sizeOf(index.shape), ...row]);
    return [scatterAddRows(updates, reshape(index, [-1]), table.shape[0]!), undefined];
  },
  lower: (builder, inputs) => builder.node("Gather", inputs, { axis: 0 }),
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [5, 3] },
        { dtype: "int32", shape: [2, 2], values: [4, 0, 4, 2] },
      ],
      attrs: {},
    },
  ],
};

/** Rows of a table: table [V, ...], index [...I] → [...I, ...]. An embedding lookup; the row of `paddingIdx` gets no gradient,
 * as in PyTorch. */
export function gather(
  table: Tensor,
  index: Tensor,
  { paddingIdx }: { readonly paddingIdx?: number | undefined } = {},
): Tensor {
  return applyOne(gatherOp, [table, index], paddingIdx === undefined ? {} : { paddingIdx });
}

/** x [V, ...] with rows added to it, one after the other: updates of shape [N, ...] at index [N]. ScatterND would add them in several
 * threads at a time on the CPU, and lose some where they go to the same row (onnxruntime 1.30 and 1.32). */
function scatter(
  builder: OnnxBuilder,
  [x, updates, index]: readonly [x: string, updates: string, index: string],
  shape: Shape,
): readonly string[] {
  if (builder.runs("ScatterElements", "float32")) {
    const column = builder.constant(
      "int64",
      [shape.length],
      shape.map((_, i) => (i === 0 ? -1 : 1)),
    );
    const [rows] = builder.node("Reshape", [index, column]);
    const [places] = builder.node("Expand", [rows!, builder.shape(shape)]);
    return builder.node("ScatterElements", [x, places!, updates], { axis: 0, reduction: "add" });
  }
  // A column first, then int64: the WebGPU provider reshapes int32 only.
  const [rows] = builder.node("Reshape", [index, builder.constant("int64", [2], [-1, 1])]);
  const [column] = builder.node("Cast", [rows!], { to: ONNX_DTYPE.int64 });
  return builder.node("ScatterND", [x, column!, updates], { reduction: "add" });
}

export interface ScatterAttrs {
  readonly rows: number;
}

export const scatterAddRowsOp: PrimitiveOp<ScatterAttrs> = {
  kind: "primitive",
  name: "scatterAddRows",
  infer: ([updates, index], { rows }) => {
    requireInt32("scatterAddRows", index!);
    if (!sameShape(index!.shape, updates!.shape.slice(0, 1))) {
      throw new LowrankError(
        "graph",
        `scatterAddRows: expected one index per row of ${formatShape(updates!.shape)}, got ${formatShape(index!.shape)}.`,
      );
    }
    return [{ dtype: updates!.dtype, shape: updates!.shape.with(0, rows) }];
  },
  vjp: (node, [g]) => [g && gather(g, node.inputs[1]!), undefined],
  lower: (builder, [updates, index], { inputs, outputs }) => {
    const { shape } = outputs[0]!;
    const [zeros] = builder.node("Expand", [
      builder.constant(inputs[0]!.dtype, [], [0]),
      builder.shape(shape),
    ]);
    return scatter(builder, [zeros!, updates!, index!], inputs[0]!.shape);
  },
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [4, 3] },
        { dtype: "int32", shape: [4], values: [1, 0, 1, 4] },
      ],
      attrs: { rows: 5 },
    },
  ],
};

/** Sum rows into a zero tensor: updates [N, ...], index [N] → [rows, ...]. */
export function scatterAddRows(updates: Tensor, index: Tensor, rows: number): Tensor {
  return applyOne(scatterAddRowsOp, [updates, index], { rows });
}

export const addRowsOp: CompositeOp<None> = {
  kind: "composite",
  name: "addRows",
  infer: sameType,
  decompose: ([x, updates, index]) => [add(x!, scatterAddRows(updates!, index!, x!.shape[0]!))],
  lower: (builder, [x, updates, index], { inputs }) =>
    scatter(builder, [x!, updates!, index!], inputs[1]!.shape),
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [5, 3] },
        { dtype: "float32", shape: [4, 3] },
        { dtype: "int32", shape: [4], values: [1, 0, 1, 4] },
      ],
      attrs: {},
    },
  ],
};

/** Add rows to those of a tensor: x [V, ...], updates [N, ...], index [N] → [V, ...]. The fusion pass makes it of
 * x + scatterAddRows(…), which would take another tensor of x's size. */
export function addRows(x: Tensor, updates: Tensor, index: Tensor): Tensor {
  return applyOne(addRowsOp, [x, updates, index], NONE);
}

export const pickOp: PrimitiveOp<None> = {
  kind: "primitive",
  name: "pick",
  infer: ([x, index]) => {
    requireInt32("pick", index!);
    if (!sameShape(index!.shape, x!.shape.slice(0, -1))) {
      throw new LowrankError(
        "graph",
        `pick: expected indices of shape ${formatShape(x!.shape.slice(0, -1))}, got ${formatShape(index!.shape)}.`,
      );
    }
    return [{ dtype: x!.dtype, shape: index!.shape }];
  },
  vjp: (node, [g]) => {
    const [x, index] = node.inputs as [Tensor, Tensor];
    if (!g) return [undefined, undefined];
    const width = dimension(x.shape, -1);
    const places = iota(width);
    const column = [...index.shape, 1];
    return [where(equal(reshape(index, column), places), reshape(g, column), 0), undefined];
  },
  lower: (builder, [x, index], { inputs }) => {
    const last = builder.constant("int64", [1], [inputs[0]!.shape.length - 1]);
    const [column] = builder.node("Unsqueeze", [index!, last]);
    const [picked] = builder.node("GatherElements", [x!, column!], { axis: -1 });
    return builder.node("Squeeze", [picked!, last]);
  },
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [2, 2, 3] },
        { dtype: "int32", shape: [2, 2], values: [2, 0, 1, 1] },
      ],
      attrs: {},
    },
  ],
};

/** One element of each last-axis row: x [..., V], index [...] → [...]. */
export function pick(x: Tensor, index: Tensor): Tensor {
  return applyOne(pickOp, [x, index], NONE);
}

export const argmaxOp: CompositeOp<None> = {
  kind: "composite",
  name: "argmax",
  infer: ([x]) => [{ dtype: "int32", shape: x!.shape.slice(0, -1) }],
  // The smallest place of those that hold the maximum.
  decompose: ([x]) => {
    const width = dimension(x!.shape, -1);
    const last = { axes: [-1] };
    const isMaximum = equal(x!, max(x!, { ...last, keepDims: true }));
    return [sub(width, max(where(isMaximum, sub(width, iota(width)), 0), last))];
  },
  vjp: "not differentiable",
  lower: (builder, inputs) => {
    const [index] = builder.node("ArgMax", inputs, { axis: -1, keepdims: 0 });
    return builder.node("Cast", [index!], { to: ONNX_DTYPE.int32 });
  },
  needs: "ArgMax",
  samples: [
    { inputs: [{ dtype: "float32", shape: [2, 3, 5] }], attrs: {} },
    { inputs: [{ dtype: "float32", shape: [4], values: [1, 7, 7, -2] }], attrs: {} },
  ],
};

/** Place of the largest element of each last-axis row, the first of equal ones: [..., V] → int32 [...]. */
export function argmax(x: Tensor): Tensor {
  return applyOne(argmaxOp, [x], NONE);
}

export interface IotaAttrs {
  readonly length: number;
}

export const iotaOp: PrimitiveOp<IotaAttrs> = {
  kind: "primitive",
  name: "iota",
  infer: (_, { length }) => [{ dtype: "int32", shape: [length] }],
  vjp: "not differentiable",
  lower: (builder, _, { attrs: { length } }) => {
    const scalar = (value: number): string => builder.constant("int32", [], [value]);
    if (!isDynamic(length)) {
      const values = Int32Array.from({ length }, (__, i) => i);
      return [builder.constant("int32", [length], values)];
    }
    const [limit] = builder.node("Cast", [builder.shape([length])], { to: ONNX_DTYPE.int32 });
    const [end] = builder.node("Squeeze", [limit!]);
    return builder.node("Range", [scalar(0), end!, scalar(1)]);
  },
  samples: [{ inputs: [], attrs: { length: 5 } }],
};

/** 0, 1, 2, …, length - 1: int32 [length]. */
export function iota(length: number): Tensor {
  return applyOne(iotaOp, [], { length });
}

export interface AxisLengthAttrs {
  readonly axis: number;
}

export const axisLengthOp: PrimitiveOp<AxisLengthAttrs> = {
  kind: "primitive",
  name: "axisLength",
  infer: () => [{ dtype: "int32", shape: [] }],
  vjp: "not differentiable",
  lower: (builder, _, { attrs, inputs }) => {
    const length = inputs[0]!.shape[attrs.axis]!;
    if (!isDynamic(length)) return [builder.constant("int32", [], [length])];
    const [vector] = builder.node("Cast", [builder.shape([length])], { to: ONNX_DTYPE.int32 });
    return builder.node("Squeeze", [vector!]);
  },
  samples: [{ inputs: [{ dtype: "float32", shape: [2, 3] }], attrs: { axis: 1 } }],
};

/** The size of an axis as a value, int32 []: also where it is known only at run time. */
export function axisLength(x: Tensor, axis: number): Tensor {
  return applyOne(axisLengthOp, [x], { axis: normalizeAxis("axisLength", axis, x.shape.length) });
}

export interface TakeRowsAttrs {
  readonly axis: number;
}

/** A selection of positions per example; the dead-rows pass moves it towards the inputs. */
export const takeRowsOp: CompositeOp<TakeRowsAttrs> = {
  kind: "composite",
  name: "takeRows",
  infer: ([x, index], { axis }) => {
    requireInt32("takeRows", index!);
    const [batch, count] = index!.shape;
    if (index!.shape.length !== 2 || axis < 1 || (x!.shape[0] !== batch && x!.shape[0] !== 1)) {
      throw new LowrankError(
        "graph",
        `takeRows: expected indices [B, K] for x [B, ..., T, ...], got ${formatShape(index!.shape)} and ${formatShape(x!.shape)}.`,
      );
    }
    return [{ dtype: x!.dtype, shape: x!.shape.with(0, batch!).with(axis, count!) }];
  },
  // One gather over all rows: row l of T in the flattened leading axes starts at l·T.
  decompose: ([x, index], { axis }) => {
    const [batch, count] = index!.shape as [number, number];
    const lead =
      batch === x!.shape[0] ? x!.shape.slice(0, axis) : x!.shape.slice(0, axis).with(0, 1);
    const inner = sizeOf(lead.slice(1));
    const length = x!.shape[axis]!;
    const leading = reshape(iota(lead[0]! * inner), [lead[0]!, inner, 1]);
    const starts = mul(leading, axisLength(x!, axis));
    const flat = reshape(add(reshape(index!, [batch, 1, count]), starts), [-1]);
    const rows = reshape(x!, [lead[0]! * inner * length, ...x!.shape.slice(axis + 1)]);
    return [reshape(gather(rows, flat), x!.shape.with(0, batch).with(axis, count))];
  },
  samples: [
    {
      inputs: [
        { dtype: "float32", shape: [2, 4, 3] },
        { dtype: "int32", shape: [2, 1], values: [3, 1] },
      ],
      attrs: { axis: 1 },
    },
    {
      inputs: [
        { dtype: "float32", shape: [2, 2, 4, 3] },
        { dtype: "int32", shape: [2, 2], values: [3, 1, 0, 0] },
      ],
      attrs: { axis: 2 },
    },
    {
      inputs: [
        { dtype: "float32", shape: [1, 1, 4, 3] },
        { dtype: "int32", shape: [2, 1], values: [3, 1] },
      ],
      attrs: { axis: 2 },
    },
  ],
};

/** Positions along an axis, chosen per example: x [B, ..., T, ...], index [B, K] → [B, ..., K, ...].
 * An x with batch size 1 serves all examples. */
export function takeRows(x: Tensor, index: Tensor, axis: number): Tensor {
  return applyOne(takeRowsOp, [x, index], {
    axis: normalizeAxis("takeRows", axis, x.shape.length),
  });
}

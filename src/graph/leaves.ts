/** @file The leaves of a graph: inputs that are fed at each run, and constants. A module's Parameter
 * (nn/parameter.ts) is a leaf as well, replaced by an input when a graph is compiled. */
import { LowrankError } from "../errors.ts";
import { BYTES, typedArray, type DType, type TypedArray } from "./dtype.ts";
import { makeNode, type Node, type Tensor, type TensorType } from "./node.ts";
import type { LeafOp } from "./op.ts";
import { formatShape, requireShape, sizeOf, type Shape } from "./shape.ts";

export interface InputAttrs extends TensorType {
  readonly name: string;
  /** The value never changes while a program lives: a frozen weight. */
  readonly frozen?: boolean;
}

export const inputOp: LeafOp<InputAttrs> = {
  kind: "leaf",
  name: "input",
  infer: (_, { dtype, shape }) => [{ dtype, shape }],
  samples: [],
};

/** A value that is given by `name` at each run. Throws LowrankError("graph") for what is no shape or no dtype. */
export function input(
  name: string,
  dtype: DType,
  shape: Shape,
  options: Pick<InputAttrs, "frozen"> = {},
): Tensor {
  requireShape(`input ${name}`, shape);
  if (!(dtype in BYTES)) {
    const known = Object.keys(BYTES).join(", ");
    throw new LowrankError("graph", `input ${name}: expected a dtype of ${known}, got ${dtype}.`);
  }
  const attrs = { name, dtype, shape, ...options };
  return makeNode(inputOp, [], attrs, [{ dtype, shape }]).outputs[0]!;
}

export interface ConstantAttrs extends TensorType {
  readonly values: TypedArray;
}

export const constantOp: LeafOp<ConstantAttrs> = {
  kind: "leaf",
  name: "constant",
  infer: (_, { dtype, shape }) => [{ dtype, shape }],
  samples: [],
};

/** A value known when the graph is built. Meant for small tensors: it is stored in the model. */
export function constant(
  dtype: DType,
  shape: Shape,
  values: readonly number[] | TypedArray,
): Tensor {
  if (values.length !== sizeOf(shape)) {
    throw new LowrankError(
      "graph",
      `constant: expected ${sizeOf(shape)} values for shape ${formatShape(shape)}, got ${values.length}.`,
    );
  }
  const data = Array.isArray(values) ? typedArray(dtype, values) : (values as TypedArray);
  return makeNode(constantOp, [], { dtype, shape, values: data }, [{ dtype, shape }]).outputs[0]!;
}

/** A scalar constant. */
export function scalar(value: number, dtype: DType = "float32"): Tensor {
  return constant(dtype, [], [value]);
}

/** The attributes of an input leaf; undefined for any other node. */
export function inputAttrs(node: Node): InputAttrs | undefined {
  return node.op === inputOp ? node.attrs : undefined;
}

/** The attributes of a constant; undefined for any other node. */
export function constantAttrs(node: Node): ConstantAttrs | undefined {
  return node.op === constantOp ? node.attrs : undefined;
}

/** The one value of a constant with one element, else undefined. */
export function scalarValue(tensor: Tensor): number | undefined {
  const attrs = constantAttrs(tensor.node);
  return attrs?.values.length === 1 ? Number(attrs.values[0]) : undefined;
}

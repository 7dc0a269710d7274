/**
 * @file What an op is: one object with its shape rule, gradient rule, ONNX lowering and samples.
 * Generic tests run over the samples of every op; adding one is described in docs/adding-an-op.md.
 */
import type { DType, TypedArray } from "./dtype.ts";
import type { Node, Tensor, TensorType } from "./node.ts";

/**
 * Vector-Jacobian product: from the cotangent of each output (undefined: zero) to the cotangent of
 * each input (undefined: zero). Built from other ops, so gradients can be differentiated again.
 */
export type Vjp<A extends object> = (
  node: Node<A>,
  cotangents: readonly (Tensor | undefined)[],
) => readonly (Tensor | undefined)[];

/** Emits ONNX nodes for one graph node; returns the names of the ONNX values of its outputs. */
export type Lower<A extends object> = (
  builder: OnnxBuilder,
  inputs: readonly string[],
  node: Node<A>,
) => readonly string[];

export type OnnxAttribute = number | string | readonly number[] | { readonly float: number };

/** The part of the ONNX writer that lowering rules see. Integers are `int` attributes; write
 * `{ float: x }` for a `float` attribute. */
export interface OnnxBuilder {
  /** Emits one ONNX node with `outputs` outputs (default 1). An empty input name is an absent
   * optional input. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, OnnxAttribute>>,
    options?: { domain?: "com.microsoft"; outputs?: number },
  ): readonly string[];
  /** An initializer; equal ones are shared. */
  constant(dtype: DType, shape: readonly number[], values: readonly number[] | TypedArray): string;
  /** An int64 vector of dimensions or bounds, those that depend on the dynamic length included. */
  shape(dimensions: readonly number[]): string;
  /** Whether the target provider has a kernel for an operator on data of a type (onnx/providers.ts). */
  runs(operator: string, dtype: DType): boolean;
}

/** Attributes of an op that has none. */
export type None = Record<never, never>;
export const NONE: None = {};

/** The shape rule of an op whose result is like its first input. */
export const sameType: OpBase<any>["infer"] = ([x]) => [{ dtype: x!.dtype, shape: x!.shape }];

/** Input types and attributes that exercise an op in the generic tests. */
export interface Sample<A extends object> {
  readonly inputs: readonly SampleInput[];
  readonly attrs: A;
}

export interface SampleInput extends TensorType {
  /** Values; random in (-2, 2) for floats, where not given. */
  readonly values?: readonly number[];
  /** Floats only: random in this range instead. */
  readonly range?: readonly [number, number];
}

interface OpBase<A extends object> {
  readonly name: string;
  /** Types of the outputs. Throws LowrankError("graph") when the inputs do not fit. */
  infer(inputs: readonly Tensor[], attrs: A): readonly TensorType[];
  readonly samples: readonly Sample<A>[];
  /** Each element of the result depends on the elements at its place in the (broadcast) inputs. */
  readonly elementwise?: true;
  /** Each row (along the last axis) of the result depends on the same row of the inputs, and on
   * inputs without rows (vectors, scalars). */
  readonly rowwise?: true;
}

/** An op that stands for itself: it must say how it is differentiated and how it is lowered. */
export interface PrimitiveOp<A extends object = object> extends OpBase<A> {
  readonly kind: "primitive";
  readonly vjp: Vjp<A> | "not differentiable";
  readonly lower: Lower<A>;
  /** The value for scalar inputs, for constant folding (elementwise ops only). */
  readonly scalar?: (...values: number[]) => number;
}

/**
 * An op that is defined by others. Without the fusion pass it is expanded by `decompose`; with it,
 * `lower` (where present) emits something faster. Where `vjp` is absent the gradient goes through
 * the decomposition.
 */
export interface CompositeOp<A extends object = object> extends OpBase<A> {
  readonly kind: "composite";
  decompose(inputs: readonly Tensor[], attrs: A): readonly Tensor[];
  readonly vjp?: Vjp<A> | "not differentiable";
  readonly lower?: Lower<A>;
  /** An ONNX operator that `lower` cannot do without, on float32: where a provider has none, the op is
   * expanded. */
  readonly needs?: string;
}

/** A leaf: an input of the graph, a constant, or a module's parameter. */
export interface LeafOp<A extends object = object> extends OpBase<A> {
  readonly kind: "leaf";
}

export type Op<A extends object = any> = PrimitiveOp<A> | CompositeOp<A> | LeafOp<A>;

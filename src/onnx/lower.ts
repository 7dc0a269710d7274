/** @file From a graph to ONNX: walks the nodes in order and asks each op to emit itself. */
import { LowrankError } from "../errors.ts";
import { ONNX_DTYPE, typedArray, type DType, type TypedArray } from "../graph/dtype.ts";
import { DYNAMIC_LENGTH, dynamicDimension, isDynamic } from "../graph/dynamic.ts";
import { graphInputs, topologicalOrder, type Graph } from "../graph/graph.ts";
import { constantAttrs, inputAttrs } from "../graph/leaves.ts";
import type { Tensor, TensorType } from "../graph/node.ts";
import type { OnnxAttribute, OnnxBuilder } from "../graph/op.ts";
import { encodeModel, type OnnxInitializer, type OnnxNode } from "./model.ts";
import type { Provider } from "./providers.ts";

/** Prefix of computed values; "$" keeps them apart from the names of inputs and outputs. */
const COMPUTED = "$v";

const DTYPES = Object.keys(ONNX_DTYPE) as DType[];

export interface OnnxModel {
  readonly bytes: Uint8Array;
  readonly inputs: Readonly<Record<string, TensorType>>;
  readonly outputs: Readonly<Record<string, TensorType>>;
  /** Weights that are part of the model; their values are given when a session is created. */
  readonly weights: Readonly<Record<string, TensorType>>;
}

export interface LowerOptions {
  readonly provider: Provider;
  /** Names of inputs to make weights of the model. */
  readonly weights?: ReadonlySet<string>;
  /** Let ONNX Runtime compute on the CPU what the provider does not run. Default: an error. */
  readonly allowFallback?: boolean;
}

/** Lower a graph whose composites are expanded, except those with a lowering of their own. Throws
 * LowrankError("runtime") when an op comes down to an operator that the provider does not run. */
export function lower(
  graph: Graph,
  { provider, allowFallback, weights: chosen }: LowerOptions,
): OnnxModel {
  const nodes: OnnxNode[] = [];
  const initializers = new InitializerPool();
  const dtypes = new Map<string, DType>();
  let counter = 0;
  let lowered = "";
  const builder: OnnxBuilder = {
    runs: (operator, dtype) => provider.runs(operator, dtype),
    constant(dtype, shape, values) {
      const name = initializers.name(dtype, shape, values);
      dtypes.set(name, dtype);
      return name;
    },
    node(opType, inputs, attributes = {}, { domain = "", outputs = 1 } = {}) {
      const names = Array.from({ length: outputs }, () => `${COMPUTED}${counter++}`);
      nodes.push({ opType, domain, inputs, outputs: names, attributes } as OnnxNode);
      const dtype = dtypes.get(inputs[opType === "Where" ? 1 : 0]!)!;
      const operator = domain === "" ? opType : `${domain}.${opType}`;
      if (!allowFallback && !provider.runs(operator, dtype)) {
        throw notRun(lowered, operator, dtype, provider);
      }
      for (const name of names) dtypes.set(name, resultType(opType, attributes, dtype));
      return names;
    },
    shape: (dimensions) => lowerShape(builder, dimensions, lengthOf),
  };
  const lengthOf = lazily(() => lowerLength(builder, graphInputs(graph)));

  const inputs: Record<string, TensorType> = {};
  const weights: Record<string, TensorType> = {};
  const values = new Map<Tensor, string>();
  for (const node of topologicalOrder(Object.values(graph.outputs))) {
    lowered = node.op.name;
    const fed = inputAttrs(node);
    const constant = constantAttrs(node);
    if (fed) {
      const target = chosen?.has(fed.name) ? weights : inputs;
      target[fed.name] = { dtype: fed.dtype, shape: fed.shape };
      dtypes.set(fed.name, fed.dtype);
      values.set(node.outputs[0]!, fed.name);
    } else if (constant) {
      const { dtype, shape, values: data } = constant;
      values.set(node.outputs[0]!, builder.constant(dtype, shape, data));
    } else if (node.op.kind === "leaf" || node.op.lower === undefined) {
      throw new LowrankError(
        "graph",
        `${node.op.name}: no ONNX form. It should have been replaced before lowering.`,
      );
    } else {
      const names = node.op.lower(
        builder,
        node.inputs.map((t) => values.get(t)!),
        node,
      );
      node.outputs.forEach((output, index) => values.set(output, names[index]!));
    }
  }

  const outputs: Record<string, TensorType> = {};
  const renamed = new Map<string, string>();
  for (const [name, tensor] of Object.entries(graph.outputs)) {
    const value = values.get(tensor)!;
    if (value.startsWith(COMPUTED) && !renamed.has(value)) renamed.set(value, name);
    // An input, a constant, or a value that is returned twice: only a copy can have this name.
    else nodes.push(identity(value, name));
    outputs[name] = { dtype: tensor.dtype, shape: tensor.shape };
  }
  const bytes = encodeModel({
    nodes: nodes.map((node) => renameValues(node, renamed)),
    initializers: initializers.all,
    external: weights,
    inputs,
    outputs,
    unreadable: provider.sparesCopies,
  });
  return { bytes, inputs, outputs, weights };
}

/** Dimensions as an int64 vector; those with the dynamic length are computed from it. */
function lowerShape(
  builder: OnnxBuilder,
  dimensions: readonly number[],
  length: () => string,
): string {
  const constant = (values: readonly number[]): string =>
    builder.constant("int64", [values.length], values);
  if (!dimensions.some(isDynamic)) return constant(dimensions);
  const parts = dimensions.map((dimension) => {
    const dynamic = dynamicDimension(dimension);
    if (!dynamic) return constant([dimension]);
    const { factor, offset } = dynamic;
    const scaled =
      factor === 1 ? length() : builder.node("Mul", [length(), constant([factor])])[0]!;
    return offset === 0 ? scaled : builder.node("Add", [scaled, constant([offset])])[0]!;
  });
  return parts.length === 1 ? parts[0]! : builder.node("Concat", parts, { axis: 0 })[0]!;
}

/** The dynamic length, int64 [1]: read off the first input that has it as a dimension. */
function lowerLength(builder: OnnxBuilder, inputs: ReadonlyMap<string, TensorType>): string {
  for (const [name, { shape }] of inputs) {
    const axis = shape.indexOf(DYNAMIC_LENGTH);
    if (axis !== -1) return builder.node("Shape", [name], { start: axis, end: axis + 1 })[0]!;
  }
  throw new LowrankError("graph", "a graph with a dynamic length needs an input that has it.");
}

function lazily<T>(make: () => T): () => T {
  let value: T | undefined;
  return () => (value ??= make());
}

function notRun(op: string, operator: string, dtype: DType, { name }: Provider): LowrankError {
  return new LowrankError(
    "runtime",
    `${op}: ONNX Runtime's provider "${name}" does not run ${operator} on ${dtype}, and a fallback to the CPU ` +
      `would be slow. Use another device, or allow the fallback.`,
  );
}

const COMPARISONS: ReadonlySet<string> = new Set(["Equal", "Greater", "GreaterOrEqual", "Less"]);

/** The type of what an operator returns, for those that lowerings use. */
function resultType(
  opType: string,
  attributes: Readonly<Record<string, OnnxAttribute>>,
  dtype: DType,
): DType {
  if (COMPARISONS.has(opType)) return "bool";
  if (opType === "Shape") return "int64";
  if (opType !== "Cast") return dtype;
  return DTYPES.find((candidate) => ONNX_DTYPE[candidate] === attributes["to"])!;
}

function identity(from: string, to: string): OnnxNode {
  return { opType: "Identity", domain: "", inputs: [from], outputs: [to], attributes: {} };
}

function renameValues(node: OnnxNode, names: ReadonlyMap<string, string>): OnnxNode {
  const rename = (name: string): string => names.get(name) ?? name;
  return { ...node, inputs: node.inputs.map(rename), outputs: node.outputs.map(rename) };
}

/** Initializers up to this size are compared, and equal ones stored once. */
const MAX_SHARED_VALUES = 64;

class InitializerPool {
  readonly all: OnnxInitializer[] = [];
  readonly #names = new Map<string, string>();

  name(dtype: DType, shape: readonly number[], values: readonly number[] | TypedArray): string {
    const data = Array.isArray(values) ? typedArray(dtype, values) : (values as TypedArray);
    const key = data.length <= MAX_SHARED_VALUES ? `${dtype}[${shape}]${data}` : undefined;
    const known = key === undefined ? undefined : this.#names.get(key);
    if (known !== undefined) return known;
    const name = `$c${this.all.length}`;
    if (key !== undefined) this.#names.set(key, name);
    this.all.push({ name, dtype, shape, values: data });
    return name;
  }
}

/** @file From a graph to ONNX: walks the nodes in order and asks each op to emit itself. */
import { LowrankError } from "../errors.ts";
import { typedArray, type DType, type TypedArray } from "../graph/dtype.ts";
import { topologicalOrder, type Graph } from "../graph/graph.ts";
import { constantAttrs, inputAttrs } from "../graph/leaves.ts";
import type { Tensor, TensorType } from "../graph/node.ts";
import type { OnnxBuilder } from "../graph/op.ts";
import { encodeModel, type OnnxInitializer, type OnnxNode } from "./model.ts";

/** Prefix of computed values; "$" keeps them apart from the names of inputs and outputs. */
const COMPUTED = "$v";

export interface OnnxModel {
  readonly bytes: Uint8Array;
  readonly inputs: Readonly<Record<string, TensorType>>;
  readonly outputs: Readonly<Record<string, TensorType>>;
}

export interface LowerOptions {
  /** The provider has the contrib operators (`com.microsoft`): true for the CPU. */
  readonly contrib: boolean;
}

/** Lower a graph whose composites are expanded, except those with a lowering of their own. */
export function lower(graph: Graph, { contrib }: LowerOptions): OnnxModel {
  const nodes: OnnxNode[] = [];
  const initializers = new InitializerPool();
  let counter = 0;
  const builder: OnnxBuilder = {
    contrib,
    constant: (dtype, shape, values) => initializers.name(dtype, shape, values),
    node(opType, inputs, attributes = {}, { domain = "", outputs = 1 } = {}) {
      const names = Array.from({ length: outputs }, () => `${COMPUTED}${counter++}`);
      nodes.push({ opType, domain, inputs, outputs: names, attributes } as OnnxNode);
      return names;
    },
  };

  const inputs: Record<string, TensorType> = {};
  const values = new Map<Tensor, string>();
  for (const node of topologicalOrder(Object.values(graph.outputs))) {
    const fed = inputAttrs(node);
    const constant = constantAttrs(node);
    if (fed) {
      inputs[fed.name] = { dtype: fed.dtype, shape: fed.shape };
      values.set(node.outputs[0]!, fed.name);
    } else if (constant) {
      const { dtype, shape, values: data } = constant;
      values.set(node.outputs[0]!, initializers.name(dtype, shape, data));
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
    inputs,
    outputs,
  });
  return { bytes, inputs, outputs };
}

function identity(from: string, to: string): OnnxNode {
  return { opType: "Identity", domain: "", inputs: [from], outputs: [to], attributes: {} };
}

function renameValues(node: OnnxNode, names: ReadonlyMap<string, string>): OnnxNode {
  const rename = (name: string): string => names.get(name) ?? name;
  return { ...node, inputs: node.inputs.map(rename), outputs: node.outputs.map(rename) };
}

class InitializerPool {
  readonly all: OnnxInitializer[] = [];
  readonly #names = new Map<string, string>();

  name(dtype: DType, shape: readonly number[], values: readonly number[] | TypedArray): string {
    const data = Array.isArray(values) ? typedArray(dtype, values) : (values as TypedArray);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const key = `${dtype}${shape.join()}:${Buffer.from(bytes).toString("base64")}`;
    let name = this.#names.get(key);
    if (name === undefined) {
      name = `$c${this.all.length}`;
      this.#names.set(key, name);
      this.all.push({ name, dtype, shape, values: data });
    }
    return name;
  }
}

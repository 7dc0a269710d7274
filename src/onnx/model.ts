/** @file Messages of an ONNX model. Field numbers: onnx.proto of https://github.com/onnx/onnx
 * (ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto, ValueInfoProto). */
import { formatDimension, isDynamic } from "../graph/dynamic.ts";
import { ONNX_DTYPE, type TypedArray } from "../graph/dtype.ts";
import type { TensorType } from "../graph/node.ts";
import type { OnnxAttribute } from "../graph/op.ts";
import type { Shape } from "../graph/shape.ts";
import { ProtoWriter } from "./protobuf.ts";

/** The opset that all lowerings are written for. */
const OPSET = 20;
const IR_VERSION = 9;

/**
 * An output that no one can read: an empty sequence. onnxruntime-node copies every output of a run into a new array, those
 * too that a buffer was given for, and the copy (fresh pages each time) takes longer than AdamW. It begins when all buffers
 * are filled, with the first output; at one that is no tensor it stops with an error. Whoever has given buffers for all
 * outputs asks for this one too, and has nothing to lose by the error (runtime/host.ts).
 */
export const UNREADABLE = "$unreadable";

export interface OnnxNode {
  readonly opType: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

export interface OnnxInitializer extends TensorType {
  readonly name: string;
  readonly values: TypedArray;
}

export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxInitializer[];
  /** Initializers whose values are given beside the model, each as a file of its name. */
  readonly external: Readonly<Record<string, TensorType>>;
  readonly inputs: Readonly<Record<string, TensorType>>;
  readonly outputs: Readonly<Record<string, TensorType>>;
  /** Begin the outputs with UNREADABLE. Default false. */
  readonly unreadable?: boolean;
}

export function encodeModel(graph: OnnxGraph): Uint8Array {
  const model = new ProtoWriter()
    .varint(1, IR_VERSION)
    .string(2, "lowrank")
    .message(7, encodeGraph(graph))
    .message(8, new ProtoWriter().string(1, "").varint(2, OPSET));
  if (graph.nodes.some((node) => node.domain === "com.microsoft")) {
    model.message(8, new ProtoWriter().string(1, "com.microsoft").varint(2, 1));
  }
  return model.finish();
}

function encodeGraph(graph: OnnxGraph): ProtoWriter {
  const writer = new ProtoWriter();
  for (const node of graph.nodes) writer.message(1, encodeNode(node));
  if (graph.unreadable) writer.message(1, encodeNode(EMPTY_SEQUENCE));
  writer.string(2, "lowrank");
  for (const tensor of graph.initializers) writer.message(5, encodeTensor(tensor));
  for (const [name, type] of Object.entries(graph.external)) {
    writer.message(5, encodeExternalTensor(name, type));
  }
  for (const [name, type] of Object.entries(graph.inputs)) {
    writer.message(11, encodeValueInfo(name, type));
  }
  if (graph.unreadable) writer.message(12, encodeSequenceInfo(UNREADABLE));
  for (const [name, type] of Object.entries(graph.outputs)) {
    writer.message(12, encodeValueInfo(name, type));
  }
  return writer;
}

const EMPTY_SEQUENCE: OnnxNode = {
  opType: "SequenceEmpty",
  domain: "",
  inputs: [],
  outputs: [UNREADABLE],
  attributes: {},
};

function encodeNode(node: OnnxNode): ProtoWriter {
  const writer = new ProtoWriter();
  for (const name of node.inputs) writer.string(1, name);
  for (const name of node.outputs) writer.string(2, name);
  writer.string(4, node.opType);
  for (const [name, value] of Object.entries(node.attributes)) {
    writer.message(5, encodeAttribute(name, value));
  }
  if (node.domain !== "") writer.string(7, node.domain);
  return writer;
}

/** AttributeProto.AttributeType */
const ATTRIBUTE = { float: 1, int: 2, string: 3, ints: 7 } as const;

function encodeAttribute(name: string, value: OnnxAttribute): ProtoWriter {
  const writer = new ProtoWriter().string(1, name);
  if (typeof value === "number") return writer.varint(3, value).varint(20, ATTRIBUTE.int);
  if (typeof value === "string") return writer.string(4, value).varint(20, ATTRIBUTE.string);
  if ("float" in value) return writer.float(2, value.float).varint(20, ATTRIBUTE.float);
  for (const item of value) writer.varint(8, item);
  return writer.varint(20, ATTRIBUTE.ints);
}

function encodeTensor({ name, dtype, shape, values }: OnnxInitializer): ProtoWriter {
  const writer = new ProtoWriter();
  for (const dim of shape) writer.varint(1, dim);
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return writer.varint(2, ONNX_DTYPE[dtype]).string(8, name).bytes(9, bytes);
}

/** TensorProto.DataLocation.EXTERNAL */
const EXTERNAL = 1;

function encodeExternalTensor(name: string, { dtype, shape }: TensorType): ProtoWriter {
  const writer = new ProtoWriter();
  for (const dim of shape) writer.varint(1, dim);
  const location = new ProtoWriter().string(1, "location").string(2, name);
  return writer
    .varint(2, ONNX_DTYPE[dtype])
    .string(8, name)
    .message(13, location)
    .varint(14, EXTERNAL);
}

function encodeValueInfo(name: string, { dtype, shape }: TensorType): ProtoWriter {
  const tensorType = new ProtoWriter().varint(1, ONNX_DTYPE[dtype]).message(2, encodeShape(shape));
  return new ProtoWriter().string(1, name).message(2, new ProtoWriter().message(1, tensorType));
}

/** A sequence of float tensors of any shape. */
function encodeSequenceInfo(name: string): ProtoWriter {
  const tensor = new ProtoWriter().message(1, new ProtoWriter().varint(1, ONNX_DTYPE.float32));
  const sequence = new ProtoWriter().message(4, new ProtoWriter().message(1, tensor));
  return new ProtoWriter().string(1, name).message(2, sequence);
}

function encodeShape(shape: Shape): ProtoWriter {
  const writer = new ProtoWriter();
  for (const dim of shape) {
    const message = new ProtoWriter();
    if (isDynamic(dim)) message.string(2, formatDimension(dim));
    else message.varint(1, dim);
    writer.message(1, message);
  }
  return writer;
}

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluate, float32 } from "../../test/run-graph.ts";
import { constant, input } from "../graph/leaves.ts";
import { add, erf, log, mul } from "../ops/elementwise.ts";
import { gelu } from "../ops/activations.ts";
import { logSoftmax } from "../ops/functional.ts";
import { split } from "../ops/movement.ts";
import { Parameter } from "../nn/parameter.ts";
import { zeros } from "../nn/init.ts";
import { Engine } from "../runtime/engine.ts";
import { lower } from "./lower.ts";
import { encodeModel } from "./model.ts";
import { ProtoWriter } from "./protobuf.ts";
import { provider } from "./providers.ts";

const hex = (writer: ProtoWriter): string => Buffer.from(writer.finish()).toString("hex");

describe("protobuf", () => {
  // The first three are the examples of https://protobuf.dev/programming-guides/encoding/
  test.each([
    ["a varint", new ProtoWriter().varint(1, 150), "089601"],
    ["a string", new ProtoWriter().string(2, "testing"), "120774657374696e67"],
    ["a message", new ProtoWriter().message(3, new ProtoWriter().varint(1, 150)), "1a03089601"],
    ["zero", new ProtoWriter().varint(1, 0), "0800"],
    ["a negative number", new ProtoWriter().varint(1, -2), "08feffffffffffffffff01"],
    ["the largest of 31 bits", new ProtoWriter().varint(1, 0x7fffffff), "08ffffffff07"],
    ["one more", new ProtoWriter().varint(1, 0x80000000), "088080808008"],
    ["53 bits", new ProtoWriter().varint(1, 2 ** 53), "088080808080808010"],
    ["a field above 15", new ProtoWriter().varint(20, 2), "a00102"],
    ["a float", new ProtoWriter().float(2, 1), "150000803f"],
    ["bytes", new ProtoWriter().bytes(9, Uint8Array.of(1, 255)), "4a0201ff"],
    ["text beyond ASCII", new ProtoWriter().string(1, "λ"), "0a02cebb"],
    ["several fields in order", new ProtoWriter().varint(2, 1).varint(1, 2), "10010802"],
  ])("%s", (_, writer, expected) => {
    expect(hex(writer)).toBe(expected);
  });

  test("a model, byte by byte", () => {
    const type = { dtype: "float32", shape: [2] } as const;
    const bytes = encodeModel({
      nodes: [{ opType: "Neg", domain: "", inputs: ["x"], outputs: ["y"], attributes: { a: -1 } }],
      initializers: [],
      external: {},
      inputs: { x: type },
      outputs: { y: type },
    });
    const type2 = "120a0a0808011204 0a020802"; // float32[2]
    const expected = [
      "0809", // ir_version 9
      "12076c6f7772616e6b", // producer_name "lowrank"
      "3a4b", // graph
      "0a1e 0a0178 120179 22034e6567", // node: input x, output y, op_type Neg
      "2a11 0a0161 18ffffffffffffffffff01 a00102", // attribute a = -1, of type INT
      "12076c6f7772616e6b", // name
      `5a0f 0a0178${type2}`, // input x
      `620f 0a0179${type2}`, // output y
      "42040a001014", // opset_import: opset 20 of the default domain
    ];
    expect(Buffer.from(bytes).toString("hex")).toBe(expected.join("").replaceAll(" ", ""));
  });
});

describe("lowering", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.start({ threads: 1 });
  });
  afterAll(() => engine.close());

  const cpu = { provider: provider("cpu") };
  const x = input("x", "float32", [2]);
  const feeds = { x: float32([2], [3, 4]) };

  test("an input, a constant, and a value returned twice can all be outputs", async () => {
    const sum = add(x, 1);
    const two = constant("float32", [2], [2, 2]);
    const graph = { outputs: { again: x, two, sum, same: sum } };
    const outputs = await evaluate(engine, graph, feeds, []);
    expect(Object.fromEntries(Object.entries(outputs).map(([k, v]) => [k, [...v]]))).toEqual({
      again: [3, 4],
      two: [2, 2],
      sum: [4, 5],
      same: [4, 5],
    });
  });

  test("one part of a node with several outputs", async () => {
    const [first, second] = split(x, 2, 0);
    const outputs = await evaluate(engine, { outputs: { first: first!, second: second! } }, feeds);
    expect([outputs["first"]![0], outputs["second"]![0]]).toEqual([3, 4]);
  });

  test("tells the types of inputs and outputs", () => {
    const model = lower({ outputs: { y: add(x, input("z", "float32", [3, 1])) } }, cpu);
    expect(model.inputs).toEqual({
      x: { dtype: "float32", shape: [2] },
      z: { dtype: "float32", shape: [3, 1] },
    });
    expect(model.outputs).toEqual({ y: { dtype: "float32", shape: [3, 2] } });
  });

  test("equal small constants are stored once", () => {
    const wide = input("wide", "float32", [64]);
    const size = (factor: number, addend: number): number => {
      const [a, c] = [factor, addend].map((value) =>
        constant("float32", [64], new Float32Array(64).fill(value)),
      );
      return lower({ outputs: { y: add(mul(wide, a!), c!) } }, cpu).bytes.length;
    };
    expect(size(7, 8) - size(7, 7)).toBeGreaterThan(64 * 4);
  });

  test("the opset of contrib operators is declared where they are used", () => {
    const { bytes } = lower({ outputs: { y: add(x, 1) } }, cpu);
    expect(Buffer.from(bytes).includes("com.microsoft")).toBe(false);
    const contrib = lower({ outputs: { y: gelu(x, "tanh") } }, cpu);
    expect(Buffer.from(contrib.bytes).includes("com.microsoft")).toBe(true);
  });

  test("what has no ONNX form is named", () => {
    const parameter = new Parameter([2], zeros);
    expect(() => lower({ outputs: { y: add(x, parameter) } }, cpu)).toThrow(
      "parameter: no ONNX form. It should have been replaced before lowering.",
    );
  });

  test("an operator that a provider lacks is an error, unless a fallback is allowed", () => {
    const webgpu = provider("webgpu");
    const graph = { outputs: { y: logSoftmax(x) } };
    expect(() => lower(graph, { provider: webgpu })).toThrow(
      'logSoftmax: ONNX Runtime\'s provider "webgpu" does not run LogSoftmax on float32',
    );
    expect(lower(graph, { provider: webgpu, allowFallback: true }).bytes.length).toBeGreaterThan(0);
    const basic = { outputs: { y: erf(log(x)) } };
    expect(() => lower(basic, { provider: webgpu })).not.toThrow();
  });
});

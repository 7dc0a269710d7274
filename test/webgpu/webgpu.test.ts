/** @file The WebGPU provider against the CPU: every op, and adapters and training runs of GPT-2, BERT and LLaMA.
 * The engine refuses whatever would fall back to the CPU, so that passing means running on WebGPU. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { typedArray, type TypedArray } from "../../src/graph/dtype.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { input } from "../../src/graph/leaves.ts";
import { apply } from "../../src/graph/node.ts";
import type { SampleInput } from "../../src/graph/op.ts";
import { sizeOf } from "../../src/graph/shape.ts";
import { lower } from "../../src/onnx/lower.ts";
import { provider } from "../../src/onnx/providers.ts";
import { ALL_OPS } from "../../src/ops/all.ts";
import { dropout } from "../../src/ops/random.ts";
import { compile } from "../../src/runtime/compile.ts";
import { Engine } from "../../src/runtime/engine.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { checkFixture } from "../conformance/check.ts";
import { startWebgpu } from "./driver.ts";

const FIXTURES = join(import.meta.dirname, "../../../shared/conformance");
/** Most of it compiles shaders, in software: 20 s a fixture on two idle cores. */
const TIMEOUT_MS = 240_000;
/** A few roundings on values of order 1. */
const TOLERANCE = 1e-5;

const started = await startWebgpu();
const reason = typeof started === "string" ? started : undefined;
const gpu = started as Engine;

describe.skipIf(reason !== undefined)(
  `WebGPU${reason === undefined ? "" : ` (skipped: ${reason})`}`,
  { timeout: TIMEOUT_MS },
  () => {
    let cpu: Engine;
    beforeAll(async () => {
      cpu = await Engine.start({ threads: 1 });
    });
    afterAll(async () => {
      await cpu.close();
      await gpu.close();
    });

    for (const op of ALL_OPS) {
      test(op.name, async () => {
        for (const sample of op.samples) {
          const inputs = sample.inputs.map(({ dtype, shape }, i) => input(`x${i}`, dtype, shape));
          const outputs = apply(op, inputs, sample.attrs);
          const graph = { outputs: Object.fromEntries(outputs.map((y, i) => [`y${i}`, y])) };
          const feeds = Object.fromEntries(sample.inputs.map((x, i) => [`x${i}`, feedOf(x, i)]));
          const expected = await run(cpu, graph, feeds);
          const actual = await run(gpu, graph, feeds);
          for (const name of Object.keys(graph.outputs)) {
            expect(largestDifference(actual[name]!.data, expected[name]!.data)).toBeLessThan(
              TOLERANCE,
            );
          }
        }
      });
    }

    test("dropout zeroes the same elements on every device", async () => {
      const key = input("key", "int32", [2]);
      const x = input("x", "float32", [5, 33, 70]);
      const graph = { outputs: { y: dropout(x, { probability: 0.3, key, place: 9 }) } };
      const data = new Float32Array(sizeOf(x.shape)).fill(0.7);
      const feeds: Record<string, HostTensor> = {
        key: { dtype: "int32", shape: [2], data: Int32Array.of(123, -4) },
        x: { dtype: "float32", shape: x.shape, data },
      };
      const [expected, actual] = [await run(cpu, graph, feeds), await run(gpu, graph, feeds)];
      expect(actual["y"]!.data).toEqual(expected["y"]!.data);
    });

    test("what falls back is refused by ONNX Runtime itself, and can be allowed", async () => {
      const x = input("x", "float32", [2, 3, 4]);
      const product = ALL_OPS.find(({ name }) => name === "matmul")!;
      const attrs = { transposeA: false, transposeB: true };
      const graph = { outputs: { y: apply(product, [x, x], attrs)[0]! } };
      // Lowered for the CPU: to FusedMatMul, which the provider lacks.
      const model = lower(graph, { provider: provider("cpu") });
      await expect(gpu.compile(model)).rejects.toThrow(
        "device webgpu: ONNX Runtime would compute a part of the graph on the CPU, which is slow. " +
          "Use another device, or allow the fallback.",
      );
      const lenient = await Engine.start({ device: "webgpu", allowFallback: true });
      await lenient.compile(model);
      await lenient.close();
    });

    for (const [fixture, only] of [
      ["gpt2-seq-cls", ["adapter lora", "training cosine-lora"]],
      ["bert-seq-cls", ["adapter lora", "training cosine-lora"]],
      ["llama-seq-cls", ["adapter lora", "training clip-lora"]],
    ] as const) {
      test.skipIf(!existsSync(join(FIXTURES, fixture)))(fixture, async () => {
        const names: string[] = [];
        for await (const { name, deviation } of checkFixture(FIXTURES, fixture, {
          engine: gpu,
          only,
        })) {
          names.push(name);
          expect(deviation?.used ?? 0, name).toBeLessThanOrEqual(1);
        }
        for (const part of only) expect(names.some((name) => name.includes(part))).toBe(true);
      });
    }
  },
);

async function run(engine: Engine, graph: Graph, feeds: Record<string, HostTensor>) {
  const program = await compile(engine, graph);
  const { outputs } = await engine.run(program, { feeds, fetch: Object.keys(graph.outputs) });
  await engine.release(program);
  return outputs;
}

function feedOf({ dtype, shape, values, range = [-2, 2] }: SampleInput, salt: number): HostTensor {
  const [low, high] = range;
  const spread = Array.from(
    { length: sizeOf(shape) },
    (_, i) => low + (high - low) * (((i + 1) * 0.618 + salt * 0.327) % 1),
  );
  return { dtype, shape, data: typedArray(dtype, values ?? spread) };
}

function largestDifference(actual: TypedArray, expected: TypedArray): number {
  if (actual.length !== expected.length) return Infinity;
  let largest = 0;
  for (let i = 0; i < actual.length; i++) {
    largest = Math.max(largest, Math.abs(Number(actual[i]) - Number(expected[i])));
  }
  return largest;
}

/** @file Generic tests over the samples of every op: inferred types against what ONNX Runtime
 * returns, lowering against decomposition, gradient rules against numeric differentiation. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { grad } from "../autodiff/grad.ts";
import { zeros, typedArray, type TypedArray } from "../graph/dtype.ts";
import type { Graph } from "../graph/graph.ts";
import { constant, input } from "../graph/leaves.ts";
import { apply, type Tensor } from "../graph/node.ts";
import type { SampleInput } from "../graph/op.ts";
import { sizeOf } from "../graph/shape.ts";
import { verify } from "../passes/verify.ts";
import { compile } from "../runtime/compile.ts";
import { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { ALL_OPS } from "./all.ts";
import { add, mul } from "./elementwise.ts";
import { sum } from "./reduce.ts";

/** Step of the central difference: balances truncation (ε²) and float32 rounding (10⁻⁷/ε). */
const EPSILON = 1e-2;
/** Both errors for values of order 1, with a factor of 10. */
const GRADIENT_TOLERANCE = 5e-3;
/** A few float32 roundings on values of order 1 to 10. */
const VALUE_TOLERANCE = 2e-6;

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

/** Deterministic values in a range that avoid 0 and exact ties. */
function sampleValues(
  { dtype, shape, values, range = [-2, 2] }: SampleInput,
  salt: number,
): TypedArray {
  if (values) return typedArray(dtype, values);
  const [low, high] = range;
  return Float32Array.from({ length: sizeOf(shape) }, (_, i) => {
    const fraction = ((i + 1) * 0.6180339887 + salt * 0.327) % 1;
    return low + (high - low) * fraction;
  });
}

async function run(graph: Graph, feeds: Record<string, HostTensor>, fused: boolean) {
  const program = await compile(engine, graph, fused ? {} : { passes: [] });
  const { outputs } = await engine.run(program, { feeds, fetch: Object.keys(graph.outputs) });
  await engine.release(program);
  return outputs;
}

for (const op of ALL_OPS) {
  describe(op.name, () => {
    for (const [number, sample] of op.samples.entries()) {
      const inputs = sample.inputs.map((type, i) => input(`x${i}`, type.dtype, type.shape));
      const feeds: Record<string, HostTensor> = {};
      for (const [i, type] of sample.inputs.entries()) {
        feeds[`x${i}`] = { dtype: type.dtype, shape: type.shape, data: sampleValues(type, i) };
      }
      const outputs = apply(op, inputs, sample.attrs);
      const graph: Graph = { outputs: Object.fromEntries(outputs.map((t, i) => [`y${i}`, t])) };

      test(`sample ${number}: inferred types and lowering`, async () => {
        verify(graph);
        const plain = await run(graph, feeds, false);
        for (const [i, output] of outputs.entries()) {
          expect(plain[`y${i}`]).toMatchObject({ dtype: output.dtype, shape: output.shape });
        }
        const fused = await run(graph, feeds, true);
        for (const name of Object.keys(plain)) {
          expectClose(fused[name]!.data, plain[name]!.data, VALUE_TOLERANCE);
        }
      });

      const wanted = inputs.filter((tensor) => tensor.dtype === "float32");
      const differentiable =
        outputs[0]!.dtype === "float32" && wanted.length > 0 && op.vjp !== "not differentiable";
      test.runIf(differentiable)(`sample ${number}: gradient`, async () => {
        const loss = weightedSum(outputs[0]!);
        const { gradients } = grad(loss, wanted);
        const lossGraph: Graph = { outputs: { loss } };
        const names = gradients.map((_, i) => `g${i}`);
        const gradientGraph: Graph = {
          outputs: Object.fromEntries(gradients.map((g, i) => [names[i]!, g])),
        };
        verify(gradientGraph);
        const fused = await run(gradientGraph, feeds, true);
        const plain = await run(gradientGraph, feeds, false);
        const program = await compile(engine, lossGraph, {});
        for (const [i, tensor] of wanted.entries()) {
          const name = `x${inputs.indexOf(tensor)}`;
          const numeric = await numericGradient(feeds, name, async (perturbed) => {
            const result = await engine.run(program, { feeds: perturbed, fetch: ["loss"] });
            return result.outputs["loss"]!.data[0] as number;
          });
          expectClose(plain[names[i]!]!.data, numeric, GRADIENT_TOLERANCE);
          expectClose(fused[names[i]!]!.data, numeric, GRADIENT_TOLERANCE);
        }
      });
    }
  });
}

/** Σ w·(y + y²) with weights that tell elements apart: a gradient error cannot cancel. */
function weightedSum(y: Tensor): Tensor {
  const weights = Array.from({ length: sizeOf(y.shape) }, (_, i) => 0.3 + ((i * 0.37) % 1));
  return sum(mul(add(y, mul(mul(y, y), 0.1)), constant("float32", y.shape, weights)));
}

async function numericGradient(
  feeds: Record<string, HostTensor>,
  name: string,
  loss: (feeds: Record<string, HostTensor>) => Promise<number>,
): Promise<Float32Array> {
  const tensor = feeds[name]!;
  const gradient = zeros("float32", tensor.data.length) as Float32Array;
  for (let i = 0; i < gradient.length; i++) {
    const moved = async (delta: number): Promise<number> => {
      const data = tensor.data.slice() as Float32Array;
      data[i]! += delta;
      return loss({ ...feeds, [name]: { ...tensor, data } });
    };
    gradient[i] = ((await moved(EPSILON)) - (await moved(-EPSILON))) / (2 * EPSILON);
  }
  return gradient;
}

function expectClose(actual: TypedArray, expected: TypedArray, tolerance: number): void {
  expect(actual.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    const [x, y] = [Number(actual[i]), Number(expected[i])];
    const limit = tolerance * Math.max(1, Math.abs(y));
    if (!(Math.abs(x - y) <= limit)) expect.fail(`element ${i}: ${x}, expected ${y} ± ${limit}`);
  }
}

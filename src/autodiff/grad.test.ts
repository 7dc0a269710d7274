/** @file The reverse sweep as a whole; the rules of the ops are tested with the ops (ops/ops.test.ts). */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluate, float32 } from "../../test/run-graph.ts";
import { topologicalOrder } from "../graph/graph.ts";
import { constant, input } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import { modelFromConfig } from "../models/auto.ts";
import { modelInputs } from "../models/inputs.ts";
import { applyLora } from "../lora/apply.ts";
import { loraConfig } from "../lora/config.ts";
import { add, exp, greater, mul, sigmoid, stopGradient, tanh, where } from "../ops/elementwise.ts";
import { gelu } from "../ops/activations.ts";
import { layerNorm, softmax } from "../ops/functional.ts";
import { matmul, matmulOp } from "../ops/matmul.ts";
import { split } from "../ops/movement.ts";
import { sum } from "../ops/reduce.ts";
import { Engine } from "../runtime/engine.ts";
import { grad } from "./grad.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

const X = [-1.5, -0.5, 0.25, 2];
const x = input("x", "float32", [4]);
const feeds = { x: float32([4], X) };

async function values(tensor: Tensor): Promise<number[]> {
  const { value } = await evaluate(engine, { outputs: { value: tensor } }, feeds);
  return [...(value as Float32Array)];
}

describe("gradients", () => {
  test("of gradients: derivatives of a higher order", async () => {
    let derivative: Tensor = sum(mul(mul(x, x), mul(x, x))); // Σ x⁴
    const orders = [];
    for (let order = 1; order <= 4; order++) {
      derivative = grad(derivative, [x]).gradients[0]!;
      orders.push((await values(derivative)).map((v) => Number(v.toFixed(4))));
      derivative = sum(derivative);
    }
    expect(orders).toEqual([
      X.map((v) => Number((4 * v ** 3).toFixed(4))),
      X.map((v) => 12 * v ** 2),
      X.map((v) => 24 * v),
      [24, 24, 24, 24],
    ]);
  });

  /** Second derivatives against differences of first ones: limits as in ops.test.ts. */
  test.each([
    ["sigmoid", (t: Tensor) => sigmoid(t)],
    ["tanh", (t: Tensor) => tanh(t)],
    ["exp", (t: Tensor) => exp(t)],
    ["gelu", (t: Tensor) => gelu(t)],
    ["gelu with tanh", (t: Tensor) => gelu(t, "tanh")],
    ["softmax", (t: Tensor) => mul(softmax(t), constant("float32", [4], [1, 2, 3, 5]))],
    [
      "layer normalization",
      (t: Tensor) =>
        mul(
          layerNorm(
            t,
            constant("float32", [4], [1, 2, 3, 4]),
            constant("float32", [4], [0, 0, 0, 0]),
            1e-5,
          ),
          constant("float32", [4], [1, -2, 3, 5]),
        ),
    ],
  ])("of the gradient of %s", async (_, f) => {
    const first = grad(sum(f(x)), [x]).gradients[0]!;
    const weights = constant("float32", [4], [0.3, -0.7, 1.1, 0.5]);
    const second = grad(sum(mul(first, weights)), [x]).gradients[0]!;
    const exact = await values(second);
    const epsilon = 1e-2;
    for (let i = 0; i < 4; i++) {
      const at = async (delta: number): Promise<number> => {
        const moved = X.map((v, j) => (i === j ? v + delta : v));
        const outputs = await evaluate(
          engine,
          { outputs: { y: sum(mul(first, weights)) } },
          { x: float32([4], moved) },
        );
        return outputs["y"]![0] as number;
      };
      const numeric = ((await at(epsilon)) - (await at(-epsilon))) / (2 * epsilon);
      expect(Math.abs(exact[i]! - numeric)).toBeLessThan(5e-3 * Math.max(1, Math.abs(numeric)));
    }
  });

  test("add up over several uses, also of one output of several", async () => {
    const [left, right] = split(x, 2, 0) as [Tensor, Tensor];
    const { gradients } = grad(sum(add(mul(left, 3), mul(left, left))), [x, left, right]);
    const expected = [X[0]!, X[1]!].map((v) => 3 + 2 * v);
    expect(await values(gradients[0]!)).toEqual([...expected, 0, 0]);
    expect(await values(gradients[1]!)).toEqual(expected);
    expect(await values(gradients[2]!)).toEqual([0, 0]);
  });

  test("are zeros for what the loss does not depend on", async () => {
    const unused = input("unused", "float32", [2, 3]);
    const { gradients } = grad(sum(x), [x, unused]);
    expect(gradients[1]!.shape).toEqual([2, 3]);
    expect(await values(gradients[1]!)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test("stop where they are told to, and at conditions", async () => {
    const stopped = grad(sum(mul(x, stopGradient(x))), [x]).gradients[0]!;
    expect(await values(stopped)).toEqual(X);
    const chosen = grad(sum(where(greater(x, 0), mul(x, 2), mul(x, 5))), [x]).gradients[0]!;
    expect(await values(chosen)).toEqual([5, 5, 2, 2]);
  });

  test("need one float32 number to start from", () => {
    expect(() => grad(x, [x])).toThrow("grad: the loss must be one float32 number.");
    const count = input("count", "int32", []);
    expect(() => grad(count, [x])).toThrow("grad: the loss must be one float32 number.");
  });
});

function matmuls(roots: readonly Tensor[]): number {
  return topologicalOrder(roots).filter(({ op }) => op === matmulOp).length;
}

/** Products in the gradients of an adapter on one of two layers. */
function adapterProducts(layersToTransform: number): number {
  const config = { model_type: "gpt2", vocab_size: 9, n_positions: 4, n_embd: 8, n_head: 2 };
  const { model, family } = modelFromConfig({ ...config, n_layer: 2 });
  const options = { r: 2, targetModules: ["c_attn"], layersToTransform, layersPattern: "h" };
  applyLora(model, loraConfig(options), family);
  const logits = model.forward(modelInputs({ batch: 2, length: 4 }));
  const trainable = [...model.namedParameters().values()].filter((p) => p.requiresGrad);
  expect(trainable).toHaveLength(2);
  const { loss, gradients } = grad(sum(logits), trainable);
  return matmuls([loss, ...gradients]) - matmuls([loss]);
}

describe("what is not computed", () => {
  test("nothing below the first tensor that wants a gradient, none for frozen weights", () => {
    const weights = Array.from({ length: 4 }, (_, i) => input(`w${i}`, "float32", [4, 4]));
    let hidden: Tensor = input("rows", "float32", [3, 4]);
    for (const weight of weights) hidden = tanh(matmul(hidden, weight));
    const products = (wanted: number): number => {
      const { loss, gradients } = grad(sum(hidden), [weights[wanted]!]);
      return matmuls([loss, ...gradients]) - weights.length;
    };
    // One product for the weight's own gradient, and one for each layer above it.
    expect([3, 2, 1, 0].map(products)).toEqual([1, 2, 3, 4]);
  });

  test("LoRA on the upper of two layers costs no gradient in the lower one", () => {
    // Upper layer: head, two of the MLP, output projection, four of the attention itself, and the adapter's
    // own: lora_B's gradient, the way down to its input, lora_A's gradient.
    expect(adapterProducts(1)).toBe(1 + 2 + 1 + 4 + 3);
    // Lower layer: all of the upper one as well, through its projection instead of an adapter.
    expect(adapterProducts(0)).toBe(adapterProducts(1) - 3 + 1 + (2 + 1 + 4 + 3));
  });
});

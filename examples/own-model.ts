/**
 * @file A model, a loss and a training loop of one's own: a network learns a curve with all of its weights, then
 * LoRA adapts it to another curve with few. Only public imports, nothing that knows text.
 *
 *     node --import tsx examples/own-model.ts
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { compile, Engine, type Tensor } from "lowrank";
import { applyLora, countParameters, loraConfig, saveAdapter } from "lowrank/lora";
import { bindParameters, Linear, Module, saveStateDict, Tanh } from "lowrank/nn";
import { input, less, maximum, mul, neg, sub, sum, where } from "lowrank/ops";
import { ADAMW_DEFAULTS, Stepper } from "lowrank/train";

const [output = "runs/own-model", stepCount = "400"] = process.argv.slice(2);
const POINTS = 64; // per batch
const WIDTH = 32;

/** x [B, 1] → y [B, 1] */
class Curve extends Module {
  first = new Linear(1, WIDTH);
  second = new Linear(WIDTH, WIDTH);
  third = new Linear(WIDTH, WIDTH);
  last = new Linear(WIDTH, 1);
  activation = new Tanh();

  forward(x: Tensor): Tensor {
    const { first, second, third, last, activation } = this;
    const hidden = activation.forward(second.forward(activation.forward(first.forward(x))));
    return last.forward(activation.forward(third.forward(hidden)));
  }
}

/** Huber's loss: e²/2 for small errors, |e| - 1/2 for large ones. → scalar, the sum */
function huberLossSum(prediction: Tensor, target: Tensor): Tensor {
  const error = sub(prediction, target);
  const size = maximum(error, neg(error));
  return sum(where(less(size, 1), mul(mul(error, error), 0.5), sub(size, 0.5)));
}

type Target = (x: number) => number;
const shape = [POINTS, 1];

function batch(target: Target, step: number): Record<"x" | "y", Float32Array> {
  const x = Float32Array.from(
    { length: POINTS },
    (_, i) => 2 * (((i + step * 0.618) / POINTS) % 1) - 1,
  );
  return { x, y: x.map(target) };
}

/** Train what requires gradients; returns the stepper, for its values, and the last loss. */
async function fit(model: Curve, target: Target, learningRate: number): Promise<[Stepper, number]> {
  const stepper = await Stepper.create(engine, model, { ...ADAMW_DEFAULTS, seed: 1 });
  let last = 0;
  for (let step = 0; step < Number(stepCount); step++) {
    const { x, y } = batch(target, step);
    const microBatch = {
      key: "points", // One shape, compiled once.
      labels: POINTS, // What the sum of the losses is divided by.
      feeds: { x: { dtype: "float32", shape, data: x }, y: { dtype: "float32", shape, data: y } },
      lossSum: () =>
        huberLossSum(model.forward(input("x", "float32", shape)), input("y", "float32", shape)),
    } as const;
    last = (await stepper.step([microBatch], learningRate)).loss;
  }
  await stepper.synchronize(); // The module tree gets what the engine has learnt.
  return [stepper, last];
}

const engine = await Engine.start();
const model = new Curve();
mkdirSync(output, { recursive: true });

const [, before] = await fit(model, (x) => Math.sin(4 * x), 1e-2);
console.log(`first curve: ${countParameters(model)} parameters trained, loss ${before.toFixed(5)}`);
await saveStateDict(model, join(output, "model.safetensors"));

const lora = loraConfig({ r: 4, loraAlpha: 4, targetModules: ["second", "third"] });
applyLora(model, lora, { loraTargets: [], headModules: [] });
const trainable = countParameters(model, { trainable: true });
const [stepper, after] = await fit(model, (x) => Math.sin(4 * x + 1), 1e-2);
console.log(`second curve: ${trainable} parameters trained, loss ${after.toFixed(5)}`);
const values = (path: string) => stepper.values(path);
await saveAdapter(output, model, { lora, baseModel: null, values });

// Prediction is another graph of the same modules.
const graph = { outputs: { y: model.eval().forward(input("x", "float32", [1, 1])) } };
const program = await compile(engine, bindParameters(graph, model));
const x = { dtype: "float32", shape: [1, 1], data: Float32Array.of(0.5) } as const;
const { outputs } = await engine.run(program, { feeds: { x }, fetch: ["y"] });
console.log(`at 0.5: ${outputs["y"]?.data[0]}, expected ${Math.sin(3)}`);
await engine.close();

/** @file Times our GPT-2 124M training step (random weights, two labels, LoRA on every linear layer, or with
 * `--method full` all weights): prints one JSON document with the same fields as bench/peers/gpt2_step.py. */
import { parseArgs } from "node:util";
import { applyLora } from "../src/lora/apply.ts";
import { loraConfig } from "../src/lora/config.ts";
import { modelFromConfig } from "../src/models/auto.ts";
import { modelInputs } from "../src/models/inputs.ts";
import { Engine } from "../src/runtime/engine.ts";
import { objectiveOf } from "../src/tasks/objectives.ts";
import { Stepper, type MicroBatch } from "../src/train/step/stepper.ts";
import { randomGenerator } from "../src/random.ts";
import { countParameters } from "../src/nn/module.ts";
import { zeros } from "../src/nn/init.ts";

const { values: options } = parseArgs({
  options: {
    steps: { type: "string", default: "8" },
    warmup: { type: "string", default: "2" },
    batch: { type: "string", default: "8" },
    length: { type: "string", default: "120" },
    method: { type: "string", default: "lora" },
    layers: { type: "string", default: "12" },
    threads: { type: "string", default: "2" },
    profile: { type: "string" },
    "zero-weights": { type: "boolean", default: false },
  },
});
const [batch, length] = [Number(options.batch), Number(options.length)];
const dropout = { embd_pdrop: 0, attn_pdrop: 0, resid_pdrop: 0 };
const { model, family } = modelFromConfig({
  model_type: "gpt2",
  n_layer: Number(options.layers),
  ...dropout,
});
if (options.method === "lora") {
  applyLora(
    model,
    loraConfig({ r: 16, loraAlpha: 16, targetModules: "all-linear", taskType: "SEQ_CLS" }),
    family,
  );
}
if (options["zero-weights"]) {
  for (const parameter of model.namedParameters().values()) parameter.values = zeros;
}
const engine = await Engine.start({
  threads: Number(options.threads),
  ...(options.profile === undefined ? {} : { profile: options.profile }),
});
const stepper = await Stepper.create(engine, model, {
  betas: [0.9, 0.999],
  eps: 1e-8,
  weightDecay: 0.1,
  seed: 1,
});

const random = randomGenerator(1, "tokens");
const int32 = (shape: number[], value: () => number) => ({
  dtype: "int32" as const,
  shape,
  data: Int32Array.from({ length: shape.reduce((a, b) => a * b) }, value),
});
const microBatch: MicroBatch = {
  key: `${batch}x${length}`,
  lossSum: () => {
    const logits = model.forward(modelInputs({ batch, length: engine.graphLength(length) }));
    return objectiveOf("SEQ_CLS").build(logits).lossSum;
  },
  feeds: {
    input_ids: int32([batch, length], () => random.int(50257)),
    attention_mask: int32([batch, length], () => 1),
    labels: int32([batch], () => random.int(2)),
  },
  labels: batch,
};

const times: number[] = [];
const losses: number[] = [];
for (let step = -Number(options.warmup); step < Number(options.steps); step++) {
  const started = performance.now();
  const { loss } = await stepper.step([microBatch], 8e-4);
  if (step >= 0) {
    times.push(performance.now() - started);
    losses.push(loss);
  }
}
await stepper.release();
await engine.close();
const sorted = times.toSorted((a, b) => a - b);
const median = sorted[Math.floor(sorted.length / 2)]!;
const document = {
  peer: "lowrank",
  threads: Number(options.threads),
  trainable_parameters: countParameters(model, { trainable: true }),
  step_ms: times,
  median_ms: median,
  min_ms: sorted[0],
  tokens_per_second: (batch * length * 1000) / median,
  peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
  losses,
};
console.log(JSON.stringify(document, null, 2));

/** @file LoRA+ in a training step: which parameters learn at which rate. */
import { expect, test } from "vitest";
import { int32 } from "../../test/run-graph.ts";
import { adaptedModel } from "../../test/tiny-lora.ts";
import { loraPlusRules } from "../lora/lora-plus.ts";
import { modelInputs } from "../models/inputs.ts";
import { normal } from "../nn/init.ts";
import { ADAMW_DEFAULTS } from "../optim/adamw.ts";
import { Engine } from "../runtime/engine.ts";
import { objectiveOf } from "../tasks/objectives.ts";
import { Stepper } from "./step/stepper.ts";

/** Group of every parameter as create_loraplus_optimizer of peft 0.21.2 forms them for this adapter: rate over the base rate and
 * whether weight decay applies. */
const PEFT_GROUPS: Record<string, [rate: number, decays: boolean]> = {
  "transformer.h.0.attn.c_attn.lora_A.weight": [1, true],
  "score.weight": [1, true],
  "transformer.wte.lora_embedding_A": [0.5, true],
  "transformer.wte.lora_embedding_B": [0.5, true],
  "transformer.wte.lora_magnitude_vector": [16, true],
  "transformer.h.0.attn.c_attn.lora_B.weight": [16, true],
  "transformer.h.0.attn.c_attn.lora_magnitude_vector": [16, true],
  "transformer.h.0.ln_1.bias": [16, false],
  "transformer.h.0.attn.c_attn.base_layer.bias": [16, false],
  "transformer.ln_f.weight": [16, false],
  "transformer.ln_f.bias": [16, false],
};

const OPTIONS = {
  r: 2,
  targetModules: ["wte", "transformer.h.0.attn.c_attn"],
  useDora: true,
  bias: "all",
  modulesToSave: ["ln_f"],
} as const;

const adapted = () =>
  adaptedModel("gpt2", {
    ...OPTIONS,
    targetModules: [...OPTIONS.targetModules],
    modulesToSave: ["ln_f"],
  });

test("the groups are PEFT's", () => {
  const { model } = adapted();
  const rules = loraPlusRules(model, { ratio: 16, embeddingRatio: 0.5 });
  const parameters = model.namedParameters();
  for (const [name, [rate, decays]] of Object.entries(PEFT_GROUPS)) {
    expect([name, rules.get(parameters.get(name)!)]).toEqual([name, { rate, decays }]);
  }
});

test("a step moves each parameter by its own rate, and decays what decays", async () => {
  const { model } = adapted();
  const parameters = model.namedParameters();
  for (const [name, parameter] of parameters) {
    if (name.includes("lora_")) parameter.values = normal(0.3);
  }
  const [learningRate, weightDecay] = [1e-3, 0.1];
  const engine = await Engine.start({ threads: 1 });
  try {
    const stepper = await Stepper.create(engine, model, {
      ...ADAMW_DEFAULTS,
      weightDecay,
      seed: 1,
      rules: loraPlusRules(model, { ratio: 16, embeddingRatio: 0.5 }),
    });
    const names = Object.keys(PEFT_GROUPS).filter((name) => parameters.get(name)!.requiresGrad);
    const before = new Map<string, Float32Array>();
    for (const name of names) before.set(name, (await stepper.values(name)).slice());
    await stepper.step(
      [
        {
          key: "one",
          lossSum: () =>
            objectiveOf("SEQ_CLS").build(model.forward(modelInputs({ batch: 2, length: 3 })))
              .lossSum,
          feeds: {
            input_ids: int32([2, 3], [5, 6, 7, 8, 9, 10]),
            attention_mask: int32([2, 3], [1, 1, 1, 1, 1, 1]),
            labels: int32([2], [0, 1]),
          },
          labels: 2,
        },
      ],
      learningRate,
    );
    for (const name of names) {
      const [rate, decays] = PEFT_GROUPS[name]!;
      const after = await stepper.values(name);
      const own = rate * learningRate;
      const moves = Array.from(before.get(name)!, (value, i) =>
        Math.abs(after[i]! - value * (decays ? 1 - own * weightDecay : 1)),
      );
      // Adam's first step has the length of the learning rate wherever the gradient is clearly not zero.
      expect(Math.max(...moves) / own, name).toBeCloseTo(1, 2);
    }
  } finally {
    await engine.close();
  }
});

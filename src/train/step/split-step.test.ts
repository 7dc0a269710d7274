import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { modelFromConfig } from "../../models/auto.ts";
import { modelInputs } from "../../models/inputs.ts";
import { sizeOf } from "../../graph/shape.ts";
import type { Parameter } from "../../nn/parameter.ts";
import { ADAMW_DEFAULTS } from "../../optim/adamw.ts";
import { randomGenerator } from "../../random.ts";
import { Engine } from "../../runtime/engine.ts";
import { objectiveOf } from "../../tasks/objectives.ts";
import { Stepper, type MicroBatch } from "./stepper.ts";

const CONFIGS = {
  gpt2: { model_type: "gpt2", n_positions: 8, n_embd: 8, n_layer: 2, n_head: 2, resid_pdrop: 0.1 },
  bert: {
    model_type: "bert",
    hidden_size: 8,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 16,
    max_position_embeddings: 8,
  },
};
const VOCABULARY = 23;
const SHAPE = { batch: 3, length: 5 };

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

/** Train all weights of a tiny model for three steps of two micro-batches: in one graph, or with the update apart. */
async function train(family: keyof typeof CONFIGS, update?: "kernel" | "pieces") {
  const { model } = modelFromConfig({ ...CONFIGS[family], vocab_size: VOCABULARY });
  const names = model.namedParameters();
  const rules = new Map(
    [...names].map(([name, parameter]): [Parameter, { rate: number; decays: boolean }] => [
      parameter,
      { rate: name.endsWith("bias") ? 2 : 1, decays: parameter.shape.length > 1 },
    ]),
  );
  const stepper = await Stepper.create(engine, model, {
    ...ADAMW_DEFAULTS,
    weightDecay: 0.1,
    maxGradNorm: 0.5,
    seed: 3,
    rules,
    split: update !== undefined,
    // Pieces end within tensors, and the last one is shorter.
    ...(update === "pieces" ? { pieceElements: 50 } : {}),
  });
  const steps = [];
  for (let step = 0; step < 3; step++) {
    const batches = [0, 1].map((half): MicroBatch => {
      const random = randomGenerator(step, `${half}`);
      const int32 = (shape: number[], limit: number) => ({
        dtype: "int32" as const,
        shape,
        data: Int32Array.from({ length: sizeOf(shape) }, () => random.int(limit)),
      });
      const { batch, length } = SHAPE;
      const ones = { ...int32([batch, length], 1), data: new Int32Array(batch * length).fill(1) };
      return {
        key: "",
        feeds: {
          input_ids: int32([batch, length], VOCABULARY),
          attention_mask: ones,
          token_type_ids: int32([batch, length], 1),
          labels: int32([batch], 2),
        },
        labels: batch,
        lossSum: () =>
          objectiveOf("SEQ_CLS").build(model.train().forward(modelInputs(SHAPE))).lossSum,
      };
    });
    steps.push(await stepper.step(batches, 1e-2));
  }
  const values = new Map<string, Float32Array>();
  for (const name of names.keys()) values.set(name, await stepper.values(name));
  await stepper.release();
  return { stepper, steps, values };
}

const WAYS = (["gpt2", "bert"] as const).flatMap((family) =>
  (["kernel", "pieces"] as const).map((update) => [family, update] as const),
);

describe.each(WAYS)("a whole %s, with gradients apart from the update (%s)", (family, update) => {
  test("is trained as in one graph", async () => {
    const [whole, split] = [await train(family), await train(family, update)];
    for (const [step, { loss, gradNorm }] of split.steps.entries()) {
      expect(loss).toBeCloseTo(whole.steps[step]!.loss, 5);
      expect(gradNorm).toBeCloseTo(whole.steps[step]!.gradNorm, 5);
    }
    for (const [name, expected] of whole.values) {
      // Softmax takes the same from all scores, so its gradient is rounding alone, which Adam makes steps of.
      if (name.endsWith("key.bias")) continue;
      const difference = split.values.get(name)!.map((value, i) => Math.abs(value - expected[i]!));
      expect(Math.max(...difference), name).toBeLessThan(1e-5);
    }
  });

  test("goes back to its beginning", async () => {
    const { stepper } = await train(family, update);
    const name = stepper.buckets[0]!.members[0]!.name;
    const trained = await stepper.values(name);
    await stepper.reset();
    expect(await stepper.values(name)).not.toEqual(trained);
  });
});

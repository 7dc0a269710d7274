/** @file What must hold of LoRA whatever the model: it starts as the base, merging changes nothing, and an
 * adapter comes back from its files as it was. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluate, evaluateModule, int32, largestDifference } from "../../test/run-graph.ts";
import { adaptedModel, baseModel } from "../../test/tiny-lora.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { Model } from "../models/family.ts";
import { modelInputs } from "../models/inputs.ts";
import { bindParameters, parameterValues } from "../nn/bind.ts";
import { fromArray, normal } from "../nn/init.ts";
import { Engine } from "../runtime/engine.ts";
import type { LoraOptions } from "./config.ts";
import { mergedWeights } from "./merge.ts";
import { loadAdapterWeights, readAdapterConfig, saveAdapter } from "./peft-format.ts";

/** Float32 roundings of logits of order 1 in another order of operations. */
const ROUNDING = 5e-6;

const FEEDS: Record<string, HostTensor> = {
  input_ids: int32([2, 4], [5, 6, 7, 8, 9, 10, 11, 12]),
  attention_mask: int32([2, 4], [1, 1, 1, 1, 1, 1, 1, 0]),
};

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

/** Move every adapter away from its start. */
function perturb({ model }: { model: Model }): void {
  for (const [name, parameter] of model.namedParameters()) {
    if (name.includes("lora_") && !name.includes("magnitude")) parameter.values = normal(0.2);
  }
}

async function logits({ model }: { model: Model }): Promise<Float32Array> {
  const output = model.forward(modelInputs({ batch: 2, length: 4 }));
  return (await evaluateModule(engine, model, { outputs: { output } }, FEEDS))[
    "output"
  ] as Float32Array;
}

const VARIANTS: Record<string, LoraOptions> = {
  lora: { r: 2 },
  "rank-stabilized": { r: 4, useRslora: true },
  dora: { r: 2, useDora: true },
  "all-linear": { r: 2, targetModules: "all-linear" },
};

for (const family of ["gpt2", "bert"] as const) {
  describe(`${family}: invariants`, () => {
    for (const [name, options] of Object.entries(VARIANTS)) {
      test(`${name}: B = 0 equals the base`, async () => {
        const base = await logits(baseModel(family));
        const adapted = await logits(adaptedModel(family, options));
        const difference = largestDifference(adapted, base);
        // DoRA divides by a norm that is computed anew; otherwise zeros are added.
        expect(difference).toBeLessThanOrEqual(options.useDora ? ROUNDING : 0);
      });

      test(`${name}: merged equals unmerged`, async () => {
        const adapted = adaptedModel(family, options);
        perturb(adapted);
        const expected = await logits(adapted);
        // loadParameters has put the weights into the engine.
        const graph = bindParameters(mergedWeights(adapted.model), adapted.model);
        const merged = await evaluate(engine, graph);
        const plain = baseModel(family);
        expect(largestDifference(await logits(plain), expected)).toBeGreaterThan(1e-3);
        const parameters = plain.model.namedParameters();
        for (const [path, values] of Object.entries(merged)) {
          parameters.get(path)!.values = fromArray(values as Float32Array);
        }
        expect(largestDifference(await logits(plain), expected)).toBeLessThan(ROUNDING);
      });

      test(`${name}: saved and loaded again, bit by bit`, async () => {
        const directory = mkdtempSync(join(tmpdir(), "lowrank-adapter-"));
        const adapted = adaptedModel(family, options);
        perturb(adapted);
        const expected = await logits(adapted);
        const parameters = adapted.model.namedParameters();
        await saveAdapter(directory, adapted.model, {
          lora: adapted.lora,
          baseModel: "some/base",
          values: (path) => parameterValues(path, parameters.get(path)!, 1),
        });
        const read = await readAdapterConfig(directory);
        expect(read).toMatchObject({ baseModel: "some/base", unknownKeys: [] });
        expect(read.lora).toMatchObject({ ...options, taskType: "SEQ_CLS" });
        const loaded = adaptedModel(family, read.lora);
        await loadAdapterWeights(directory, loaded.model, read.lora);
        expect(largestDifference(await logits(loaded), expected)).toBe(0);
        rmSync(directory, { recursive: true });
      });
    }
  });
}

test("an adapted embedding merges as well", async () => {
  const adapted = adaptedModel("gpt2", { r: 2, targetModules: ["wte"] });
  perturb(adapted);
  const expected = await logits(adapted);
  const graph = bindParameters(mergedWeights(adapted.model), adapted.model);
  const merged = await evaluate(engine, graph);
  const plain = baseModel("gpt2");
  plain.model.namedParameters().get("transformer.wte.weight")!.values = fromArray(
    merged["transformer.wte.weight"] as Float32Array,
  );
  expect(largestDifference(await logits(plain), expected)).toBeLessThan(ROUNDING);
});

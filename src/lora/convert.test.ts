import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluateModule, int32, largestDifference } from "../../test/run-graph.ts";
import { input } from "../graph/leaves.ts";
import { GPTModel } from "../models/gpt-model.ts";
import { parameterValues } from "../nn/bind.ts";
import { fromArray, normal } from "../nn/init.ts";
import { freeze, type Module } from "../nn/module.ts";
import { Linear } from "../nn/layers.ts";
import { Engine } from "../runtime/engine.ts";
import { loraConfig } from "./config.ts";
import { applyLora } from "./apply.ts";
import { lectureToPeft, peftToLecture } from "./convert.ts";
import { replaceLinearWithLora } from "./lecture.ts";
import { loadAdapterWeights, readAdapterConfig, saveAdapter } from "./peft-format.ts";
import { LoraLinear } from "./layers.ts";

const CONFIG = {
  vocabSize: 11,
  contextLength: 6,
  embDim: 8,
  nHeads: 2,
  nLayers: 1,
  dropRate: 0,
  qkvBias: true,
  numClasses: 3,
};
const IDS = int32([2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
/** The two forms scale at another place in the product. */
const ROUNDING = 2e-6;

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

/** The lecture's model whose adapters are not at their start. */
function adapted(): GPTModel {
  const model = new GPTModel(CONFIG);
  freeze(model);
  replaceLinearWithLora(model, { rank: 3, alpha: 5 });
  for (const [name, parameter] of model.namedParameters()) {
    if (name.endsWith(".lora.B")) parameter.values = normal(0.1);
  }
  return model;
}

async function logits(model: GPTModel) {
  const output = model.forward(input("input_ids", "int32", IDS.shape));
  const { y } = await evaluateModule(engine, model, { outputs: { y: output } }, { input_ids: IDS });
  return y as Float32Array;
}

async function allValues(model: Module): Promise<Record<string, Float32Array>> {
  const entries = [...model.namedParameters()].map(
    async ([name, parameter]) => [name, await parameterValues(name, parameter, 1)] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

describe("the lecture's layers", () => {
  test.each([
    [{}, "rank undefined and alpha undefined"],
    [{ rank: 0, alpha: 16 }, "rank 0 and alpha 16"],
    [{ rank: 2.5, alpha: NaN }, "rank 2.5 and alpha NaN"],
  ])("refuse %j", (options, got) => {
    expect(() => replaceLinearWithLora(new GPTModel(CONFIG), options as never)).toThrow(
      `LoRALayer: expected a rank from 1 and a number alpha, got ${got}.`,
    );
  });

  test("have heads of equal width", () => {
    expect(() => new GPTModel({ ...CONFIG, nHeads: 7 })).toThrow(
      "to be a multiple of nHeads, got ",
    );
  });
});

describe("the lecture's form and PEFT's", () => {
  test("compute the same", async () => {
    const model = adapted();
    const expected = await logits(model);
    const config = lectureToPeft(model);
    expect(config).toMatchObject({ r: 3, loraAlpha: 15 });
    expect(model.getModule("out_head")).toBeInstanceOf(LoraLinear);
    expect(largestDifference(await logits(model), expected)).toBeLessThan(ROUNDING);
  });

  test("there and back changes no bit and keeps what is trainable", async () => {
    const model = adapted();
    const tree = String(model);
    const before = await allValues(model);
    lectureToPeft(model);
    peftToLecture(model);
    expect(String(model)).toBe(tree);
    expect(await allValues(model)).toEqual(before);
    const trainable = [...model.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad);
    expect(trainable.every(([name]) => /\.lora\.[AB]$/.test(name))).toBe(true);
    expect(trainable).toHaveLength(14);
  });

  test("an adapter that was saved in PEFT's form loads into a new model", async () => {
    const directory = mkdtempSync(join(tmpdir(), "lowrank-convert-"));
    const model = adapted();
    const expected = await logits(model);
    const values = await allValues(model);
    const lora = lectureToPeft(model);
    const converted = await allValues(model);
    await saveAdapter(directory, model, {
      lora,
      baseModel: null,
      values: (path) => Promise.resolve(converted[path]!),
    });
    const stored = JSON.parse(readFileSync(join(directory, "adapter_config.json"), "utf8"));
    expect(stored).toMatchObject({ r: 3, lora_alpha: 15, peft_type: "LORA" });

    const other = new GPTModel(CONFIG);
    for (const [name, parameter] of other.namedParameters()) {
      const own = values[name] ?? values[name.replace(/\.(weight|bias)$/, ".linear.$1")];
      parameter.values = fromArray(own!);
    }
    const read = await readAdapterConfig(directory);
    applyLora(other, read.lora, { loraTargets: [], headModules: [] });
    await loadAdapterWeights(directory, other, read.lora);
    peftToLecture(other);
    expect(largestDifference(await logits(other), expected)).toBe(0);
    rmSync(directory, { recursive: true });
  });

  test("refuse what the other cannot express", () => {
    const mixed = new GPTModel(CONFIG);
    replaceLinearWithLora(mixed.trf_blocks, { rank: 2, alpha: 2 });
    replaceLinearWithLora(mixed.final_norm, { rank: 2, alpha: 2 });
    const plain = new GPTModel(CONFIG);
    expect(() => lectureToPeft(plain)).toThrow(
      "lectureToPeft: expected LinearWithLoRA layers of one rank and alpha, got none. Call replaceLinearWithLora first.",
    );
    expect(() => peftToLecture(plain)).toThrow("the model has no LoRA layers");
    const dora = new GPTModel(CONFIG);
    const options = { r: 2, useDora: true, targetModules: ["out_head"] };
    applyLora(dora, loraConfig(options), { loraTargets: [], headModules: [] });
    expect(() => peftToLecture(dora)).toThrow("peftToLecture: out_head uses DoRA.");
    expect(mixed.out_head).toBeInstanceOf(Linear);
  });
});

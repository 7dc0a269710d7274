/** @file What must hold of LoRA whatever the model: it starts as the base, merging changes nothing, and an
 * adapter comes back from its files as it was. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluate, evaluateModule, int32, largestDifference } from "../../test/run-graph.ts";
import { adaptedModel, baseModel } from "../../test/tiny-lora.ts";
import { grad } from "../autodiff/grad.ts";
import { input } from "../graph/leaves.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { Model } from "../models/family.ts";
import { modelFromConfig } from "../models/auto.ts";
import { modelInputs } from "../models/inputs.ts";
import { bindParameters, parameterValues } from "../nn/bind.ts";
import { fromArray, normal } from "../nn/init.ts";
import { Embedding } from "../nn/layers.ts";
import { sum } from "../ops/reduce.ts";
import { Engine } from "../runtime/engine.ts";
import type { LoraOptions } from "./config.ts";
import { applyLora } from "./apply.ts";
import { loraConfig } from "./config.ts";
import { mergedWeights } from "./merge.ts";
import { TokenAdapter } from "./tokens.ts";
import { plainConfig, savePlainAdapter } from "./plain.ts";
import {
  adapterParameters,
  loadAdapterWeights,
  readAdapterConfig,
  saveAdapter,
} from "./peft-format.ts";

/** Float32 roundings of logits of order 1 in another order of operations. */
const ROUNDING = 5e-6;

const FEEDS: Record<string, HostTensor> = {
  input_ids: int32([2, 4], [5, 6, 7, 8, 9, 10, 11, 12]),
  attention_mask: int32([2, 4], [1, 1, 1, 1, 1, 1, 1, 0]),
};

/** A language model whose output head is the embedding's table. */
const TIED = {
  model_type: "gpt2",
  vocab_size: 30,
  n_positions: 8,
  n_embd: 8,
  n_layer: 1,
  n_head: 2,
  tie_word_embeddings: true,
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
  pissa: { r: 2, initLoraWeights: "pissa" },
  "pissa by projection": { r: 2, initLoraWeights: "pissa_niter_8", useRslora: true },
  olora: { r: 2, initLoraWeights: "olora", targetModules: "all-linear" },
};

for (const family of ["gpt2", "bert"] as const) {
  describe(`${family}: invariants`, () => {
    for (const [name, options] of Object.entries(VARIANTS)) {
      test(`${name}: starts as the base`, async () => {
        const base = await logits(baseModel(family));
        const adapted = await logits(adaptedModel(family, options));
        const difference = largestDifference(adapted, base);
        // DoRA divides by a norm that is computed anew; what is taken out of the weight is added again rounded.
        // Otherwise zeros are added.
        const isRounded = options.useDora || options.initLoraWeights !== undefined;
        expect(difference).toBeLessThanOrEqual(isRounded ? ROUNDING : 0);
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

for (const useDora of [false, true]) {
  test(`an adapted embedding merges as well${useDora ? ", with DoRA" : ""}`, async () => {
    const adapted = adaptedModel("gpt2", { r: 2, targetModules: ["wte"], useDora });
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
}

test("options have defaults, and what is wrong with them is said", () => {
  const { model, family } = baseModel("gpt2");
  expect(() => applyLora(model, { r: -8, rank: 8 } as never, family)).toThrow(
    'LoraConfig: r: Too small: expected number to be >0; Unrecognized key: "rank".',
  );
  const layers = applyLora(model, {}, family);
  expect(String(layers.get("transformer.h.0.attn.c_attn"))).toContain("out_features=8");
  expect([...layers.values()].map(({ scale }) => scale)).toEqual([1, 1]);
});

describe("parts of the weight as a start", () => {
  /** [in, out] of GPT-2, and [out, in] of BERT. */
  const layers = {
    gpt2: "transformer.h.0.attn.c_attn",
    bert: "bert.encoder.layer.0.attention.self.query",
  };
  for (const family of ["gpt2", "bert"] as const) {
    for (const initLoraWeights of ["pissa", "olora"] as const) {
      test(`${family}, ${initLoraWeights}: the weight loses scale·B·A`, async () => {
        const options = { r: 2, loraAlpha: 6, initLoraWeights };
        const adapted = adaptedModel(family, options).model.namedParameters();
        const original = baseModel(family).model.namedParameters();
        const read = async (parameters: typeof adapted, name: string) => {
          const path = `${layers[family]}.${name}`;
          const parameter = parameters.get(path)!;
          return { data: await parameterValues(path, parameter, 1), shape: parameter.shape };
        };
        const weight = await read(original, "weight");
        const [rows, columns] = weight.shape as [number, number];
        const rest = await read(adapted, "base_layer.weight");
        const [a, b] = [await read(adapted, "lora_A.weight"), await read(adapted, "lora_B.weight")];
        const taken = Float32Array.from(weight.data, (_, index) => {
          const [row, column] = [Math.floor(index / columns), index % columns];
          const [out, inner] = family === "gpt2" ? [column, row] : [row, column];
          const width = family === "gpt2" ? rows : columns;
          return (
            3 *
            [0, 1].reduce((sum, k) => sum + b.data[out * 2 + k]! * a.data[k * width + inner]!, 0)
          );
        });
        const sum = rest.data.map((value, index) => value + taken[index]!);
        expect(largestDifference(sum, weight.data)).toBeLessThan(1e-7);
        expect(Math.hypot(...taken)).toBeGreaterThan(Math.hypot(...weight.data) / 3);
        if (initLoraWeights === "olora") return;
        // What is left is as small as it can be: orthogonal to what was taken.
        const overlap = rest.data.reduce((total, value, index) => total + value * taken[index]!, 0);
        expect(Math.abs(overlap)).toBeLessThan(1e-7);
      });
    }
  }
});

const withTokens = (trainableTokenIndices: NonNullable<LoraOptions["trainableTokenIndices"]>) =>
  adaptedModel("gpt2", { trainableTokenIndices });

describe("a plain LoRA of one that started from the weight", () => {
  const variants: Record<string, LoraOptions> = {
    pissa: { r: 2, loraAlpha: 6, initLoraWeights: "pissa", rankPattern: { "1.attn.c_attn": 3 } },
    "olora, rank-stabilized": { r: 2, initLoraWeights: "olora", useRslora: true },
    "with an embedding": { r: 2, initLoraWeights: "pissa", targetModules: ["wte", "c_attn"] },
  };
  for (const [name, options] of Object.entries(variants)) {
    test(`${name}: the same logits on the base as it is`, async () => {
      const directory = mkdtempSync(join(tmpdir(), "lowrank-plain-"));
      const adapted = adaptedModel("gpt2", options);
      const parameters = adapted.model.namedParameters();
      // Some training: everything moves a little away from its start.
      for (const [path, parameter] of parameters) {
        if (!parameter.requiresGrad) continue;
        const { values } = parameter;
        parameter.values = async (context) => {
          const start = await values(context);
          const step = await normal(0.02)({ ...context, name: path });
          return start.map((value, i) => value + step[i]!);
        };
      }
      const expected = await logits(adapted);
      await savePlainAdapter(directory, adapted.model, {
        lora: adapted.lora,
        baseModel: null,
        values: (path) => parameterValues(path, parameters.get(path)!, 1),
      });
      const { lora } = await readAdapterConfig(directory);
      expect(lora).toMatchObject({ r: 4, initLoraWeights: true });
      const plain = adaptedModel("gpt2", lora);
      await loadAdapterWeights(directory, plain.model, lora);
      expect(largestDifference(await logits(plain), expected)).toBeLessThan(ROUNDING);
      rmSync(directory, { recursive: true });
    });
  }

  test("what cannot be converted", () => {
    expect(() => plainConfig(loraConfig({}))).toThrow("the adapter is a plain LoRA already.");
    const lora = loraConfig({ initLoraWeights: "pissa", useRslora: true, alphaPattern: { q: 3 } });
    expect(() => plainConfig(lora)).toThrow(
      "useRslora with rankPattern or alphaPattern cannot be kept at twice the rank.",
    );
  });
});

describe("rows for single tokens", () => {
  const tokens = [3, 6, 12];

  test("start as the base's, replace them, merge", async () => {
    const base = await logits(baseModel("gpt2"));
    const adapted = adaptedModel("gpt2", { r: 2, trainableTokenIndices: tokens });
    expect(largestDifference(await logits(adapted), base)).toBe(0);
    const path = "transformer.wte.token_adapter.trainable_tokens_delta";
    const delta = adapted.model.namedParameters().get(path)!;
    expect(delta).toMatchObject({ shape: [3, 8], requiresGrad: true });
    delta.values = normal(0.5);
    const changed = await logits(adapted);
    expect(largestDifference(changed, base)).toBeGreaterThan(1e-4);
    const graph = bindParameters(mergedWeights(adapted.model), adapted.model);
    const { "transformer.wte.weight": merged } = await evaluate(engine, graph);
    const plain = baseModel("gpt2");
    const table = plain.model.namedParameters().get("transformer.wte.weight")!;
    const original = await parameterValues("transformer.wte.weight", table, 1);
    const touched = [...original.keys()].filter((i) => merged![i] !== original[i]);
    expect([...new Set(touched.map((i) => Math.floor(i / 8)))]).toEqual(tokens);
    table.values = fromArray(merged as Float32Array);
    expect(largestDifference(await logits(plain), changed)).toBe(0);
  });

  test("the row of the padding token is not trained, as in PyTorch", async () => {
    const adapter = new TokenAdapter(new Embedding(4, 2, { paddingIdx: 1 }), [3, 1]);
    const rows = adapter.forward(input("ids", "int32", [4]));
    const { gradients } = grad(sum(rows), [adapter.trainable_tokens_delta]);
    const graph = bindParameters({ outputs: { gradient: gradients[0]! } }, adapter);
    const { gradient } = await evaluate(engine, graph, { ids: int32([4], [0, 1, 3, 3]) });
    expect([...gradient!]).toEqual([2, 2, 0, 0]);
  });

  test("an output head that shares the embedding's weight has the same rows", async () => {
    const { model, family } = modelFromConfig(TIED, "CAUSAL_LM");
    const lora = loraConfig({
      taskType: "CAUSAL_LM",
      r: 2,
      trainableTokenIndices: { wte: tokens },
    });
    applyLora(model, lora, family);
    expect(
      [...adapterParameters(model, lora).keys()].filter((key) => key.includes("token")),
    ).toEqual(["base_model.model.transformer.wte.token_adapter.trainable_tokens_delta"]);
    expect([...model.namedParameters()].filter(([, { shape }]) => shape[0] === 30)).toHaveLength(1);
    model.namedParameters().get("transformer.wte.token_adapter.trainable_tokens_delta")!.values =
      normal(0.5);
    const output = model.forward(modelInputs({ batch: 2, length: 4 }));
    const { output: values } = await evaluateModule(engine, model, { outputs: { output } }, FEEDS);
    const graph = bindParameters(mergedWeights(model), model);
    const merged = await evaluate(engine, graph);
    expect(merged["lm_head.weight"]).toEqual(merged["transformer.wte.weight"]);
    const plain = modelFromConfig(TIED, "CAUSAL_LM").model;
    plain.namedParameters().get("transformer.wte.weight")!.values = fromArray(
      merged["transformer.wte.weight"] as Float32Array,
    );
    const expected = plain.forward(modelInputs({ batch: 2, length: 4 }));
    const { expected: same } = await evaluateModule(
      engine,
      plain,
      { outputs: { expected } },
      FEEDS,
    );
    expect(largestDifference(values as Float32Array, same as Float32Array)).toBeLessThan(ROUNDING);
  });

  test("errors name the module", () => {
    expect(() => withTokens([1, 30])).toThrow(
      "trainableTokenIndices: transformer.wte has 30 rows, got index 30.",
    );
    expect(() => withTokens({ embed_tokens: [1], wte: [2, 2] })).toThrow(
      'trainableTokenIndices: no embedding is named "embed_tokens"; transformer.wte: an index is listed twice.',
    );
    expect(() =>
      adaptedModel("gpt2", { trainableTokenIndices: [1], modulesToSave: ["wte"] }),
    ).toThrow("transformer.wte is trained whole by modulesToSave; name it in one of the two.");
    expect(() =>
      adaptedModel("gpt2", { trainableTokenIndices: [1], targetModules: ["wte"] }),
    ).toThrow("transformer.wte is adapted by targetModules as well.");
    expect(() => adaptedModel("gpt2", { ensureWeightTying: true, targetModules: ["wte"] })).toThrow(
      "ensureWeightTying: not implemented for transformer.wte;",
    );
  });
});

test("an embedding that is trained whole leaves the output head that shares it as it was", async () => {
  const { model, family } = modelFromConfig(TIED, "CAUSAL_LM");
  const lora = loraConfig({ taskType: "CAUSAL_LM", r: 2, modulesToSave: ["wte"] });
  const before = await parameterValues(
    "transformer.wte.weight",
    model.namedParameters().get("transformer.wte.weight")!,
    1,
  );
  applyLora(model, lora, family);
  const parameters = model.namedParameters();
  const [wte, head] = [
    parameters.get("transformer.wte.weight")!,
    parameters.get("lm_head.weight")!,
  ];
  expect([wte.requiresGrad, head.requiresGrad]).toEqual([true, false]);
  expect(await parameterValues("transformer.wte.weight", wte, 1)).toEqual(before);
  expect(await parameterValues("lm_head.weight", head, 1)).toEqual(before);
});

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { adaptedModel, baseModel, CONFIGS } from "../../test/tiny-lora.ts";
import { LowrankError } from "../errors.ts";
import { readFloat32, readHeader, writeSafetensors } from "../io/safetensors.ts";
import { modelFromConfig } from "../models/auto.ts";
import { parameterValues } from "../nn/bind.ts";
import { applyLora } from "./apply.ts";
import { loraConfig } from "./config.ts";
import { findTargets } from "./targets.ts";
import {
  adapterParameters,
  formatAdapterConfig,
  loadAdapterWeights,
  parseAdapterConfig,
  readAdapterConfig,
  saveAdapter,
  unknownKeysWarning,
} from "./peft-format.ts";

/** What `save_pretrained` of peft 0.21.2 writes for a default LoRA on a classifier, without the line
 * "peft_version". Its options are objects or null: a false in the wrong place does not load. */
const PEFT_TEXT = `{
  "alora_invocation_tokens": null,
  "alpha_pattern": {},
  "arrow_config": null,
  "auto_mapping": null,
  "base_model_name_or_path": null,
  "bias": "none",
  "corda_config": null,
  "ensure_weight_tying": false,
  "eva_config": null,
  "exclude_modules": null,
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "kasa_config": null,
  "layer_replication": null,
  "layers_pattern": null,
  "layers_to_transform": null,
  "loftq_config": {},
  "lora_alpha": 8,
  "lora_bias": false,
  "lora_dropout": 0.0,
  "lora_ga_config": null,
  "megatron_config": null,
  "megatron_core": "megatron.core",
  "modules_to_save": [
    "classifier",
    "score"
  ],
  "monteclora_config": null,
  "peft_type": "LORA",
  "qalora_group_size": 16,
  "r": 8,
  "rank_pattern": {},
  "revision": null,
  "target_modules": [
    "query"
  ],
  "target_parameters": null,
  "task_type": "SEQ_CLS",
  "trainable_token_indices": null,
  "use_bdlora": null,
  "use_dora": false,
  "use_qalora": false,
  "use_rslora": false,
  "velora_config": null
}`;

describe("PEFT's files", () => {
  test("adapter_config.json: all keys, sorted, two spaces", async () => {
    const { model, lora } = adaptedModel("gpt2", { r: 2, targetModules: ["c_attn"] });
    const text = formatAdapterConfig(lora, model, "gpt2");
    const stored = JSON.parse(text) as Record<string, unknown>;
    expect(Object.keys(stored)).toEqual(Object.keys(stored).sort());
    expect(text.startsWith('{\n  "alora_invocation_tokens": null,\n  "alpha_pattern": {},\n')).toBe(
      true,
    );
    expect(stored).toMatchObject({
      base_model_name_or_path: "gpt2",
      fan_in_fan_out: true,
      inference_mode: true,
      lora_alpha: 8,
      modules_to_save: ["classifier", "score"],
      peft_type: "LORA",
      r: 2,
      target_modules: ["c_attn"],
      task_type: "SEQ_CLS",
    });
  });

  test("adapter_config.json is PEFT 0.21's text, but for its version", async () => {
    const { model, lora } = adaptedModel("bert", { targetModules: ["query"] });
    expect(formatAdapterConfig(lora, model, null)).toBe(PEFT_TEXT);
  });

  test("the keys of the tensors", async () => {
    const { model, lora } = adaptedModel("bert", {
      r: 2,
      useDora: true,
      layersToTransform: 0,
      targetModules: ["query"],
    });
    expect(
      [...adapterParameters(model, lora)].map(([key, { shape }]) => `${key} [${shape}]`),
    ).toEqual([
      "base_model.model.bert.encoder.layer.0.attention.self.query.lora_magnitude_vector [8]",
      "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight [2,8]",
      "base_model.model.bert.encoder.layer.0.attention.self.query.lora_B.weight [8,2]",
      "base_model.model.classifier.weight [2,8]",
      "base_model.model.classifier.bias [2]",
    ]);
  });

  test("the least that loads, and what is refused", () => {
    const file = "adapter_config.json";
    const least = parseAdapterConfig({ peft_type: "LORA", target_modules: ["c_attn"] }, file);
    expect(least.lora).toMatchObject({ r: 8, targetModules: ["c_attn"] });
    const future = parseAdapterConfig({ peft_type: "LORA", invented_option: 1 }, file);
    expect(future.unknownKeys).toEqual(["invented_option"]);
    expect(() => parseAdapterConfig({ peft_type: "IA3" }, file)).toThrow(
      'adapter_config.json: peft_type "IA3" is not supported, expected "LORA".',
    );
    expect(unknownKeysWarning(future, file)).toBe(
      "adapter_config.json: ignored unknown option invented_option. Another version of PEFT wrote it; " +
        "results differ if the adapter needs them.",
    );
    expect(unknownKeysWarning(least)).toBeUndefined();
    const parameters = { peft_type: "LORA", target_parameters: ["experts.gate_up_proj"] };
    expect(() => parseAdapterConfig(parameters, file)).toThrow(
      'not implemented: target_parameters = ["experts.gate_up_proj"]. Parameters outside of Linear, Conv1D and ' +
        "Embedding modules cannot be adapted: train with target_modules instead.",
    );
    expect(() =>
      parseAdapterConfig({ peft_type: "LORA", init_lora_weights: "corda" }, file),
    ).toThrow('not implemented: init_lora_weights = "corda". It changes the base model\'s weights');
    expect(() => parseAdapterConfig(["LORA"], file)).toThrow("expected an object with");
    const stored = { peft_type: "LORA", lora_bias: true, layer_replication: [[0, 4]] };
    expect(() => parseAdapterConfig(stored, file)).toThrow(
      "adapter_config.json: not implemented: layer_replication = [[0,4]], lora_bias = true.",
    );
  });

  test("what versions write differently means the same", () => {
    const { lora, unknownKeys } = parseAdapterConfig(
      {
        peft_type: "LORA",
        peft_version: "0.21.2",
        r: 4,
        layers_pattern: "",
        layers_to_transform: [],
        exclude_modules: [],
        rank_pattern: null,
        modules_to_save: ["classifier", "score", "classifier", "score"],
        init_lora_weights: "eva",
        eva_config: { rho: 2 },
        runtime_config: { ephemeral_gpu_offload: false },
      },
      "adapter_config.json",
    );
    expect(unknownKeys).toEqual([]);
    expect(lora).toEqual(loraConfig({ r: 4, modulesToSave: ["classifier", "score"] }));
  });

  test("any JSON is a configuration or one of our errors", () => {
    const keys =
      "r lora_alpha target_modules rank_pattern modules_to_save bias init_lora_weights layers_to_transform " +
      "trainable_token_indices loftq_config task_type exclude_modules toString __proto__ constructor";
    const key = fc.constantFrom(...keys.split(" "));
    const value = fc.oneof(fc.jsonValue(), fc.constantFrom("all-linear", "(", "toString", [], {}));
    const configuration = fc
      .dictionary(key, value)
      .map((options) => Object.assign(options, { peft_type: "LORA" }));
    fc.assert(
      fc.property(fc.oneof(configuration, fc.jsonValue()), (stored) => {
        try {
          const { lora } = parseAdapterConfig(stored, "adapter_config.json");
          findTargets(baseModel("gpt2").model, lora, { loraTargets: ["c_attn"], headModules: [] });
          return true;
        } catch (error) {
          return error instanceof LowrankError;
        }
      }),
      { numRuns: 300, seed: 7 },
    );
  });

  test("trained rows of an embedding, and weights of the base that PEFT stores as well", async () => {
    const options = { r: 2, trainableTokenIndices: [5, 7] };
    const { model, lora } = adaptedModel("bert", options);
    const keys = [...adapterParameters(model, lora).keys()];
    expect(keys).toContain(
      "base_model.model.bert.embeddings.word_embeddings.token_adapter.trainable_tokens_delta",
    );
    expect(JSON.parse(formatAdapterConfig(lora, model, null))).toMatchObject({
      trainable_token_indices: [5, 7],
    });
    const directory = mkdtempSync(join(tmpdir(), "lowrank-adapter-"));
    const embedding = adaptedModel("gpt2", { r: 2, targetModules: ["wte"] });
    const parameters = embedding.model.namedParameters();
    const prefix = "base_model.model.";
    const tensors = [...adapterParameters(embedding.model, embedding.lora)].map(
      ([name, { shape }]) => ({
        name,
        dtype: "F32" as const,
        shape,
        data: new Float32Array(shape.reduce((a, b) => a * b)),
      }),
    );
    const resized = new Float32Array(30 * 8).fill(0.5);
    const base = "transformer.wte.base_layer.weight";
    await writeSafetensors(join(directory, "adapter_model.safetensors"), [
      ...tensors,
      { name: prefix + base, dtype: "F32", shape: [30, 8], data: resized },
    ]);
    await loadAdapterWeights(directory, embedding.model, embedding.lora);
    expect(await parameterValues(base, parameters.get(base)!, 1)).toEqual(resized);
    // Saved again, the adapter still has them: another's base may not.
    const again = mkdtempSync(join(directory, "again-"));
    await saveAdapter(again, embedding.model, {
      lora: embedding.lora,
      baseModel: null,
      values: async (path) => (await parameterValues(path, parameters.get(path)!, 1))!,
    });
    const stored = (await readHeader(join(again, "adapter_model.safetensors"))).tensors;
    expect([...stored.keys()].toSorted()).toEqual(
      [...tensors.map(({ name }) => name), prefix + base].toSorted(),
    );
    expect(await readFloat32(stored.get(prefix + base)!)).toEqual(resized);
    rmSync(directory, { recursive: true });
  });

  test("biases of the head that PEFT stores more than once", async () => {
    const directory = mkdtempSync(join(tmpdir(), "lowrank-adapter-"));
    const { model, lora } = adaptedModel("bert", { r: 2, bias: "all" });
    const stored = [...adapterParameters(model, lora)].map(([name, { shape }]) => ({
      name,
      shape,
    }));
    for (const name of ["modules_to_save", "original_module", "modules_to_save.default.dense"])
      stored.push({ name: `base_model.model.classifier.${name}.bias`, shape: [2] });
    const file = join(directory, "adapter_model.safetensors");
    const write = (tensors: typeof stored) =>
      writeSafetensors(
        file,
        tensors.map(({ name, shape }) => ({
          name,
          dtype: "F32" as const,
          shape,
          data: new Float32Array(shape.reduce((a, b) => a * b)),
        })),
      );
    await write(stored);
    await loadAdapterWeights(directory, model, lora);
    await write([...stored, { name: "base_model.model.classifier.original.bias", shape: [2] }]);
    await expect(loadAdapterWeights(directory, model, lora)).rejects.toThrow(
      "unexpected keys: base_model.model.classifier.original.bias.",
    );
    rmSync(directory, { recursive: true });
  });

  test("weights of another model: every key that does not fit", async () => {
    const directory = mkdtempSync(join(tmpdir(), "lowrank-adapter-"));
    const { model, lora } = adaptedModel("gpt2", { r: 2 });
    const parameters = model.namedParameters();
    const values = (path: string) => parameterValues(path, parameters.get(path)!, 1);
    await saveAdapter(directory, model, { lora, baseModel: null, values });
    const header = await readHeader(join(directory, "adapter_model.safetensors"));
    expect(header.tensors.size).toBe(5);

    const narrower = adaptedModel("gpt2", {
      r: 2,
      targetModules: ["c_attn"],
      layersToTransform: 0,
    });
    await expect(loadAdapterWeights(directory, narrower.model, narrower.lora)).rejects.toThrow(
      /unexpected keys: base_model\.model\.transformer\.h\.1\.attn\.c_attn\.lora_A\.weight, .*lora_B\.weight\. The adapter belongs to another model/,
    );
    await expect(loadAdapterWeights(directory, narrower.model, narrower.lora)).rejects.toThrow(
      "it adapts layers up to number 1, here 0.",
    );
    const wider = adaptedModel("gpt2", { r: 3 });
    await expect(loadAdapterWeights(directory, wider.model, wider.lora)).rejects.toThrow(
      /keys of another shape: .*lora_A\.weight: expected \[3, 8\], got \[2, 8\], .*its rank or the width of its layers is another\.$/,
    );
    const bert = adaptedModel("bert", { r: 2 });
    await expect(loadAdapterWeights(directory, bert.model, bert.lora)).rejects.toThrow(
      /missing keys: base_model\.model\.bert\..*unexpected keys: .*base_model\.model\.transformer\..* The adapter belongs to another model/,
    );
    const three = modelFromConfig({ ...CONFIGS.gpt2, num_labels: 3 });
    applyLora(three.model, lora, three.family);
    await expect(loadAdapterWeights(directory, three.model, lora)).rejects.toThrow(
      /score\.weight: expected \[3, 8\], got \[2, 8\]\. The adapter belongs to another model: its head is of another size\.$/,
    );
    writeFileSync(join(directory, "adapter_config.json"), "{");
    await expect(readAdapterConfig(directory)).rejects.toThrow(/adapter_config\.json/);
    rmSync(directory, { recursive: true });
  });
});

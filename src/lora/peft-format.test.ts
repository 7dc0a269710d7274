import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { adaptedModel } from "../../test/tiny-lora.ts";
import { readHeader } from "../io/safetensors.ts";
import { parameterValues } from "../nn/bind.ts";
import {
  adapterParameters,
  formatAdapterConfig,
  loadAdapterWeights,
  parseAdapterConfig,
  readAdapterConfig,
  saveAdapter,
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
    const stored = { peft_type: "LORA", lora_bias: true, layer_replication: [[0, 4]] };
    expect(() => parseAdapterConfig(stored, file)).toThrow(
      "adapter_config.json: not implemented: layer_replication = [[0,4]], lora_bias = true.",
    );
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
    const wider = adaptedModel("gpt2", { r: 3 });
    await expect(loadAdapterWeights(directory, wider.model, wider.lora)).rejects.toThrow(
      /lora_A\.weight/,
    );
    writeFileSync(join(directory, "adapter_config.json"), "{");
    await expect(readAdapterConfig(directory)).rejects.toThrow(/adapter_config\.json/);
    rmSync(directory, { recursive: true });
  });
});

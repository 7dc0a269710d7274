import { describe, expect, test } from "vitest";
import { adaptedModel, baseModel } from "../../test/tiny-lora.ts";
import { Linear } from "../nn/layers.ts";
import { countParameters, Module, ModuleList } from "../nn/module.ts";
import { checkRanks, loraLayers } from "./apply.ts";
import { loraConfig, type LoraOptions } from "./config.ts";
import { checkNames, findTargets, idleTargets } from "./targets.ts";

/** Paths of the layers that options adapt. */
async function paths(options: LoraOptions): Promise<string[]> {
  return [...adaptedModel("gpt2", options).layers.keys()];
}

/** Everything trainable besides the adapters. */
async function trainable(options: LoraOptions): Promise<string[]> {
  const { model } = adaptedModel("gpt2", options);
  return [...model.namedParameters()]
    .filter(([name, p]) => p.requiresGrad && !name.includes("lora_"))
    .map(([name]) => name);
}

describe("targets", () => {
  test("default: the family's", async () => {
    expect(await paths({})).toEqual(["transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_attn"]);
    const bert = adaptedModel("bert", {});
    expect([...bert.layers.keys()].map((path) => path.replace(/.*\./, ""))).toEqual([
      "query",
      "value",
      "query",
      "value",
    ]);
  });

  test("a list of endings", async () => {
    expect(await paths({ targetModules: ["attn.c_proj", "h.0.mlp.c_fc"] })).toEqual([
      "transformer.h.0.attn.c_proj",
      "transformer.h.0.mlp.c_fc",
      "transformer.h.1.attn.c_proj",
    ]);
  });

  test("a regular expression for whole paths", async () => {
    expect(await paths({ targetModules: String.raw`.*\.1\.mlp\.c_(fc|proj)` })).toEqual([
      "transformer.h.1.mlp.c_fc",
      "transformer.h.1.mlp.c_proj",
    ]);
    await expect(paths({ targetModules: "mlp" })).rejects.toThrow("matches no module");
    await expect(paths({ targetModules: "(" })).rejects.toThrow(
      'targetModules: "(" is not a regular expression that is understood here.',
    );
  });

  test("all-linear leaves out the head", async () => {
    const all = await paths({ targetModules: "all-linear" });
    expect(all).toHaveLength(8);
    expect(all).not.toContain("score");
  });

  test("excludeModules and layersToTransform", async () => {
    expect(
      await paths({ targetModules: "all-linear", excludeModules: ["mlp.c_fc", "c_proj"] }),
    ).toEqual(["transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_attn"]);
    expect(
      await paths({ targetModules: ["c_attn"], layersToTransform: 1, layersPattern: "h" }),
    ).toEqual(["transformer.h.1.attn.c_attn"]);
    await expect(paths({ targetModules: ["c_attn"], layersToTransform: [7] })).rejects.toThrow(
      '["c_attn"] matches no module of the model (after layersToTransform). It has: ',
    );
  });

  test("layers in a list of their own are named by their paths", () => {
    class Layers extends Module {
      layers = new ModuleList([new Linear(4, 4), new Linear(4, 4)]);
      head = new Linear(4, 4);
      forward() {}
    }
    const family = { loraTargets: [], headModules: [] };
    expect(() => findTargets(new Layers(), loraConfig({ targetModules: ["x"] }), family)).toThrow(
      'targetModules: ["x"] matches no module of the model. It has: layers.0, layers.1, head; or use',
    );
  });

  test("layers count by the first number of a path; a whole path is taken at its word", () => {
    class Layer extends Module {
      experts = new ModuleList([new Linear(4, 4), new Linear(4, 4)]);
      forward() {}
    }
    class Body extends Module {
      layers = new ModuleList([new Layer(), new Layer()]);
      forward() {}
    }
    class Model extends Module {
      body = new Body();
      forward() {}
    }
    const found = (options: LoraOptions) => [
      ...findTargets(new Model(), loraConfig(options), { loraTargets: [], headModules: [] }).keys(),
    ];
    const targetModules = ["experts.0", "experts.1"];
    expect(found({ targetModules, layersToTransform: 1 })).toEqual([
      "body.layers.1.experts.0",
      "body.layers.1.experts.1",
    ]);
    expect(
      found({ targetModules, layersToTransform: [0], layersPattern: ["h", "layers"] }),
    ).toEqual(["body.layers.0.experts.0", "body.layers.0.experts.1"]);
    const whole = ["body.layers.0.experts.0", "experts.1"];
    expect(found({ targetModules: whole, layersToTransform: 1 })).toEqual([
      "body.layers.0.experts.0",
      "body.layers.1.experts.1",
    ]);
  });

  test("rankPattern and alphaPattern", async () => {
    const { model } = adaptedModel("gpt2", {
      r: 2,
      loraAlpha: 4,
      targetModules: ["c_attn"],
      rankPattern: { "1.attn.c_attn": 4 },
      alphaPattern: { "h.1.*": 16 },
    });
    const layers = [...loraLayers(model).values()];
    expect(layers.map((layer) => layer.scale)).toEqual([2, 4]);
    const [first, second] = layers as unknown as { lora_A: { weight: { shape: number[] } } }[];
    expect([first!.lora_A.weight.shape, second!.lora_A.weight.shape]).toEqual([
      [2, 8],
      [4, 8],
    ]);
  });

  test("errors name what there is", async () => {
    await expect(paths({ targetModules: ["q_proj"] })).rejects.toThrow(
      'targetModules: ["q_proj"] matches no module of the model. ' +
        'It has: wte, wpe, c_attn, c_proj, c_fc, score; or use "all-linear".',
    );
    await expect(paths({ targetModules: ["ln_1"] })).rejects.toThrow(
      "targetModules: transformer.h.0.ln_1 is a LayerNorm; Linear, Conv1D and Embedding can be adapted.",
    );
    const { model, family } = baseModel("gpt2");
    const lora = loraConfig({ r: 9 });
    expect(() => checkRanks(findTargets(model, lora, family), lora)).toThrow(
      "r: larger than the layer for transformer.h.0.attn.c_attn [8, 24]: r = 9, at most 8;",
    );
    await expect(paths({ r: 9, initLoraWeights: "pissa" })).rejects.toThrow("r: larger than");
    await expect(paths({ targetModules: ["score"] })).rejects.toThrow(
      "(but one that is trained whole, by modulesToSave or as the task's head)",
    );
    await expect(paths({ targetModules: ["attn"], excludeModules: "(?>x)" })).rejects.toThrow(
      'excludeModules: "(?>x)" is not a regular expression',
    );
  });
});

describe("what is trained", () => {
  test("adapters and the head", async () => {
    const { model } = adaptedModel("gpt2", { r: 2 });
    const names = [...model.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad);
    expect(names.map(([name]) => name.replace(/.*\.h\./, ""))).toEqual([
      "0.attn.c_attn.lora_A.weight",
      "0.attn.c_attn.lora_B.weight",
      "1.attn.c_attn.lora_A.weight",
      "1.attn.c_attn.lora_B.weight",
      "score.weight",
    ]);
    // Two layers of r·(8 + 24), and the head [2, 8].
    expect(countParameters(model, { trainable: true })).toBe(2 * 2 * (8 + 24) + 16);
  });

  test("biases on request, whole modules on request", async () => {
    expect(
      await trainable({ bias: "lora_only", layersToTransform: 0, targetModules: ["c_attn"] }),
    ).toEqual(["transformer.h.0.attn.c_attn.base_layer.bias", "score.weight"]);
    expect(await trainable({ bias: "all" })).toHaveLength(2 * 6 + 1 + 1);
    expect(await trainable({ modulesToSave: ["ln_f"] })).toEqual([
      "transformer.ln_f.weight",
      "transformer.ln_f.bias",
      "score.weight",
    ]);
  });
});

describe("options", () => {
  test("PEFT's defaults", () => {
    expect(loraConfig({})).toEqual({
      r: 8,
      loraAlpha: 8,
      loraDropout: 0,
      targetModules: null,
      excludeModules: null,
      layersToTransform: null,
      layersPattern: null,
      rankPattern: {},
      alphaPattern: {},
      modulesToSave: null,
      bias: "none",
      useRslora: false,
      useDora: false,
      fanInFanOut: false,
      initLoraWeights: true,
      trainableTokenIndices: null,
      ensureWeightTying: false,
      taskType: null,
    });
  });

  test("names beside them that mean no module", () => {
    const { model, family } = baseModel("bert");
    const check = (options: LoraOptions): void => {
      const config = loraConfig(options);
      checkNames(model, config, findTargets(model, config, family));
    };
    expect(() =>
      check({
        modulesToSave: ["pooler", "poler"],
        excludeModules: ["layer.9.attention.self.query", "key"],
        rankPattern: { query: 2, dense: 4 },
        alphaPattern: { "layer.[01].*.value": 2, "layer.9.*": 2 },
      }),
    ).toThrow(
      'modulesToSave: "poler" matches no module; excludeModules: "layer.9.attention.self.query" matches no module; ' +
        'rankPattern: "dense" matches no adapted module; alphaPattern: "layer.9.*" matches no adapted module. ' +
        "Adapted are: query, value. The model has: bert, embeddings, word_embeddings, ",
    );
    expect(() => check({ excludeModules: ".*\\.key", rankPattern: { query: 2 } })).not.toThrow();
    expect(() => check({ excludeModules: "key" })).toThrow('excludeModules: "key" matches no');
  });

  test("targets that adapt nothing beside others", () => {
    const { model, family } = baseModel("bert");
    const warning = (targetModules: LoraOptions["targetModules"]): string | undefined => {
      const config = loraConfig({ targetModules: targetModules ?? null });
      return idleTargets(config.targetModules, [...findTargets(model, config, family).keys()]);
    };
    expect(warning(["query", "valve", "q_proj", "layer.0.attention.self.key"])).toBe(
      'Of the target modules, "valve", "q_proj" adapt nothing. Adapted are: query, key.',
    );
    expect(warning(["query", "key"])).toBeUndefined();
    expect(warning("all-linear")).toBeUndefined();
    expect(warning(null)).toBeUndefined();
  });

  test("every problem in one error", () => {
    const options = { r: 0, loraDropout: 1.5, rank: 8 } as LoraOptions;
    expect(() => loraConfig(options)).toThrowErrorMatchingInlineSnapshot(
      `[LowrankError: LoraConfig: r: Too small: expected number to be >0; loraDropout: Too big: expected number to be <1; Unrecognized key: "rank".]`,
    );
    expect(() => loraConfig({ layersPattern: "h" })).toThrow(
      "layersPattern: needs layersToTransform",
    );
    expect(() => loraConfig({ targetModules: "x", layersToTransform: 1 })).toThrow(
      'layersToTransform: needs targetModules as a list of names, or null for the usual ones of the model\'s family, not "x"',
    );
  });
});

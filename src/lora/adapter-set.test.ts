import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluate, int32, largestDifference } from "../../test/run-graph.ts";
import { adaptedModel, baseModel, type Family } from "../../test/tiny-lora.ts";
import { modelInputs } from "../models/inputs.ts";
import { bindParameters, loadParameters, parameterValues } from "../nn/bind.ts";
import { fromArray, normal } from "../nn/init.ts";
import { Engine } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { AdapterSet } from "./adapter-set.ts";
import type { LoraOptions } from "./config.ts";
import { mergeAdapter } from "./merge.ts";
import { saveAdapter } from "./peft-format.ts";

/** Float32 roundings of logits of order 1 in another order of operations. */
const ROUNDING = 5e-6;
const SEED = 1;

const INPUTS = { batch: 3, length: 4 };
/** All of the model's inputs: a mixed batch cannot do without token types. */
const inputsOf = (family: Family) => modelInputs(INPUTS, { tokenTypes: family === "bert" });

const FEEDS: Record<string, HostTensor> = {
  token_type_ids: int32([3, 4], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
  input_ids: int32([3, 4], [5, 6, 7, 8, 9, 10, 11, 12, 3, 4, 5, 6]),
  attention_mask: int32([3, 4], [1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1]),
};

/** Adapters that differ in rank, targets and kind; all with a head of their own. */
const ADAPTERS: Record<Family, Record<string, LoraOptions>> = {
  gpt2: {
    plain: { r: 2, loraAlpha: 4 },
    wide: { r: 3, targetModules: ["c_fc", "c_attn"], useRslora: true },
    table: { r: 2, targetModules: ["wte", "wpe", "c_proj"], useDora: true },
    tokens: { r: 2, targetModules: ["c_attn"], trainableTokenIndices: [5, 9] },
  },
  bert: {
    plain: { r: 2, loraAlpha: 4 },
    wide: { r: 3, targetModules: "all-linear", modulesToSave: ["pooler"] },
    table: { r: 2, targetModules: ["token_type_embeddings", "query"] },
  },
};

let engine: Engine;
let directory: string;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
  directory = mkdtempSync(join(tmpdir(), "lowrank-set-"));
  for (const family of ["gpt2", "bert"] as const) {
    for (const [name, options] of Object.entries(ADAPTERS[family])) {
      const { model, lora } = perturbed(family, options);
      const parameters = model.namedParameters();
      const { mkdirSync } = await import("node:fs");
      mkdirSync(folder(family, name));
      await saveAdapter(folder(family, name), model, {
        lora,
        baseModel: null,
        values: (path) => parameterValues(path, parameters.get(path)!, SEED),
      });
    }
  }
});
afterAll(async () => {
  await engine.close();
  rmSync(directory, { recursive: true });
});

const folder = (family: Family, name: string): string => join(directory, `${family}-${name}`);

/** A model with one adapter away from its start, its head included. */
function perturbed(family: Family, options: LoraOptions) {
  const adapted = adaptedModel(family, options);
  for (const [, parameter] of adapted.model.namedParameters()) {
    if (parameter.requiresGrad) parameter.values = normal(0.3);
  }
  return adapted;
}

async function setOf(family: Family): Promise<AdapterSet> {
  const set = new AdapterSet(baseModel(family));
  for (const name of Object.keys(ADAPTERS[family])) await set.load(name, folder(family, name));
  return set;
}

async function logits({ model }: Pick<AdapterSet, "model">, feeds = FEEDS) {
  await loadParameters(engine, model, { seed: SEED });
  return run(model, model.forward(modelInputs({ batch: 3, length: 4 })), feeds);
}

async function run(
  model: AdapterSet["model"],
  output: ReturnType<AdapterSet["model"]["forward"]>,
  feeds = FEEDS,
) {
  const graph = bindParameters({ outputs: { output } }, model);
  return (await evaluate(engine, graph, feeds))["output"] as Float32Array;
}

/** The logits of every adapter alone, computed without a set. */
async function expected(family: Family): Promise<Record<string, Float32Array>> {
  const result: Record<string, Float32Array> = { __base__: await logits(baseModel(family)) };
  for (const [name, options] of Object.entries(ADAPTERS[family])) {
    result[name] = await logits(perturbed(family, options));
  }
  return result;
}

for (const family of ["gpt2", "bert"] as const) {
  describe(`${family}: several adapters on one base`, () => {
    test("each alone, none, in any order", async () => {
      const alone = await expected(family);
      const set = await setOf(family);
      expect(set.names).toEqual(Object.keys(ADAPTERS[family]));
      expect(set.active).toEqual(["plain"]);
      for (const name of ["wide", "__base__", "plain", "table"]) {
        set.activate(...(name === "__base__" ? [] : [name]));
        expect(await logits(set)).toEqual(alone[name]);
      }
      set.activate("wide");
      set.disable();
      expect(await logits(set)).toEqual(alone["__base__"]);
    });

    test("a mixed batch: each row as with its adapter alone", async () => {
      const alone = await expected(family);
      const set = await setOf(family);
      await loadParameters(engine, set.model, { seed: SEED });
      const output = set.mixed(3, (model) => model.forward(inputsOf(family)));
      for (const rows of [
        ["wide", "__base__", "table"],
        ["plain", "plain", "wide"],
        ["__base__", "table", "plain"],
      ]) {
        const mixed = await run(set.model, output, { ...FEEDS, ...set.rowAdapters(rows) });
        const wanted = mixed.map((_, i) => alone[rows[Math.floor(i / 2)]!]![i]!);
        expect(largestDifference(mixed, wanted)).toBeLessThan(ROUNDING);
      }
      // The selection from before holds again.
      expect(await logits(set)).toEqual(alone["plain"]);
    });

    test("deleted, and added to a running engine", async () => {
      const set = await setOf(family);
      const before = await logits(set);
      const { base } = { base: baseModel(family).model.namedParameters() };
      for (const name of set.names.filter((other) => other !== "plain")) set.delete(name);
      expect(set.names).toEqual(["plain"]);
      expect(await logits(set)).toEqual(before);
      // The base's parameters have the names that they had without adapters.
      const names = new Set(set.model.namedParameters().keys());
      for (const name of base.keys()) expect(names).toContain(name);
      await set.load("again", folder(family, "wide"));
      set.activate("again");
      await loadParameters(engine, set.model, { seed: SEED, filter: set.belongsTo("again") });
      const after = await run(set.model, set.model.forward(modelInputs({ batch: 3, length: 4 })));
      expect(after).toEqual((await expected(family))["wide"]);
    });

    test("merged and unmerged: the base's weights come back bit for bit", async () => {
      const set = await setOf(family);
      const read = async () => {
        const values = new Map<string, Float32Array>();
        for (const [name, parameter] of set.model.namedParameters()) {
          values.set(name, await parameterValues(name, parameter, SEED));
        }
        return values;
      };
      for (const name of ["plain", "wide", "table"]) {
        set.activate(name);
        const unmerged = await logits(set);
        const before = await read();
        const merge = set.merge({ safe: true });
        expect(merge.changed.length).toBeGreaterThan(1);
        expect(() => set.activate("wide")).toThrow(
          "activate: the active adapters are merged. Call unmerge first.",
        );
        expect(largestDifference(await logits(set), unmerged)).toBeLessThan(ROUNDING);
        merge.unmerge();
        expect(await read()).toEqual(before);
        expect(await logits(set)).toEqual(unmerged);
      }
    });
  });
}

describe("combinations", () => {
  const LAYERS: LoraOptions = { targetModules: ["c_attn"], taskType: null };

  /** Two adapters without heads, away from their start. */
  function pair(): AdapterSet {
    const set = new AdapterSet(baseModel("gpt2"));
    set.add("one", { ...LAYERS, r: 2 });
    set.add("two", { ...LAYERS, r: 2, loraAlpha: 5 });
    for (const name of set.names) {
      for (const [path, parameter] of set.parameters(name)) {
        parameter.values = (context) => normal(0.3)({ ...context, name: name + path, seed: SEED });
      }
    }
    return set;
  }

  test("several active ones add up, as cat and svd combine them", async () => {
    const set = pair();
    set.activate("one", "two");
    const sum = await logits(set);
    for (const combination of ["cat", "svd"] as const) {
      await set.combine(combination, { weights: { one: 1, two: 1 }, combination, rank: 4 });
      set.activate(combination);
      expect(set.config(combination)).toMatchObject({ r: 4, loraAlpha: 4, initLoraWeights: true });
      expect(largestDifference(await logits(set), sum)).toBeLessThan(ROUNDING);
    }
    await set.combine("off", { weights: { one: 0 } });
    set.activate("off");
    expect(await logits(set)).toEqual(await logits(baseModel("gpt2")));
  });

  test("a combination is an adapter like any other: saved and loaded", async () => {
    const set = pair();
    await set.combine("mix", {
      weights: { one: 0.7, two: -0.4 },
      combination: "ties",
      density: 0.5,
    });
    set.activate("mix");
    const mixed = await logits(set);
    await set.save("mix", directory);
    const other = new AdapterSet(baseModel("gpt2"));
    expect(await other.load("mix", directory)).toEqual([]);
    expect(await logits(other)).toEqual(mixed);
  });

  test("errors say what cannot be combined", async () => {
    const set = pair();
    set.add("three", { ...LAYERS, r: 3 });
    set.add("dora", { ...LAYERS, r: 2, useDora: true });
    set.add("head", { r: 2, taskType: "SEQ_CLS" });
    set.add("head2", { r: 2, taskType: "SEQ_CLS" });
    const weights = { one: 1, three: 1 };
    await expect(set.combine("x", { weights, combination: "linear" })).rejects.toThrow(
      'combine: linear needs adapters of one rank, got one 2, three 3. Use "cat" or "svd".',
    );
    await expect(set.combine("x", { weights: { one: 1, dora: 1 } })).rejects.toThrow(
      "combine: dora uses DoRA, whose changes do not add up.",
    );
    await expect(set.combine("x", { weights: { head: 1, head2: 1 } })).rejects.toThrow(
      "combine: head, head2 store score whole, each its own.",
    );
    await expect(
      set.combine("x", { weights: { one: 1, two: 1 }, combination: "ties" }),
    ).rejects.toThrow("ties: expected a density above 0 and at most 1, got none.");
    await expect(set.combine("x", { weights: { one: 1, two: NaN } })).rejects.toThrow(
      "combine: expected numbers as weights, got two: NaN.",
    );
    await expect(
      set.combine("x", { weights: { one: 1, two: 1 }, combination: "sum" as never }),
    ).rejects.toThrow("combine: expected one of linear, cat, svd, ");
    expect(set.names).not.toContain("x");
  });
});

describe("errors", () => {
  test("names", () => {
    const set = new AdapterSet(baseModel("gpt2"));
    set.add("one", { r: 2 });
    expect(() => set.add("one", { r: 2 })).toThrow('"one" exists already. Delete it first');
    expect(() => set.add("a.b", { r: 2 })).toThrow('"a.b" is not a name for an adapter.');
    expect(() => set.activate("two")).toThrow('no adapter is named "two". There are: one.');
    const inputs = modelInputs({ batch: 3, length: 4 });
    const bert = new AdapterSet(baseModel("bert"));
    bert.add("types", { targetModules: ["token_type_embeddings"] });
    expect(() => bert.mixed(3, (model) => model.forward(inputs))).toThrow(
      "an adapted embedding is read without token ids. Give the model all of its inputs.",
    );
    expect(() => set.rowAdapters(["one", "two"])).toThrow('no adapter is named "two".');
  });

  test("what adapters cannot share", () => {
    const set = new AdapterSet(baseModel("gpt2"));
    expect(() => set.add("one", { r: 2, bias: "all" })).toThrow(
      '"one" trains biases of the base, which adapters share. Load it alone.',
    );
    expect(() => set.add("one", { r: 2, initLoraWeights: "pissa" })).toThrow(
      '"one" starts from the base\'s weights (pissa) and changes them. Convert it to a plain LoRA first.',
    );
    set.add("one", { r: 2, taskType: "SEQ_CLS" });
    set.add("two", { r: 2, taskType: "SEQ_CLS" });
    expect(() => set.activate("one", "two")).toThrow(
      "activate: only one adapter can replace score, got one, two. Activate one of them.",
    );
  });

  test("an adapter that does not fit leaves the set as it was", async () => {
    const set = new AdapterSet(baseModel("gpt2"));
    set.add("one", { r: 2 });
    await expect(set.load("two", folder("bert", "plain"))).rejects.toThrow(
      "The adapter belongs to another model",
    );
    expect([set.names, set.active]).toEqual([["one"], ["one"]]);
  });
});

describe("one adapter", () => {
  test("merged in place and unmerged", async () => {
    const adapted = perturbed("bert", { r: 2, useDora: true, targetModules: ["query", "dense"] });
    const [tree, unmerged] = [String(adapted.model), await logits(adapted)];
    const { unmerge } = mergeAdapter(adapted.model);
    expect(String(adapted.model)).toBe(String(baseModel("bert").model));
    expect(largestDifference(await logits(adapted), unmerged)).toBeLessThan(ROUNDING);
    unmerge();
    expect(String(adapted.model)).toBe(tree);
    expect(await logits(adapted)).toEqual(unmerged);
  });

  test("safe refuses what is not finite", async () => {
    const { model } = adaptedModel("gpt2", { r: 2 });
    const parameters = model.namedParameters();
    parameters.get("transformer.h.1.attn.c_attn.lora_B.weight")!.values = fromArray(
      new Float32Array(48).fill(3e38),
    );
    mergeAdapter(model, { safe: true });
    const name = "transformer.h.1.attn.c_attn.weight";
    await expect(
      model.namedParameters().get(name)!.values({ name, shape: [], seed: 0 }),
    ).rejects.toThrow(`${name}: expected finite numbers after merging, got `);
  });
});

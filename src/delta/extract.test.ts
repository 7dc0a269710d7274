import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { failure } from "../../test/failure.ts";
import { WORDS, writeTinyModel } from "../../test/tiny-model.ts";
import {
  trainedTensors,
  writeRandomAdapter,
  writeTrainedDelta,
  writeTrainedModel,
  type Tensors,
} from "../../test/tiny-trained.ts";
import { LowrankError } from "../errors.ts";
import { readHeader } from "../io/safetensors.ts";
import { readAdapterConfig } from "../lora/peft-format.ts";
import { Predictor } from "../train/predict.ts";
import { openChanges } from "./changes.ts";
import { extractLora, type ExtractOptions, type ExtractReport } from "./extract.ts";
import { denseChange, energyOf, singularValues } from "./spectrum.ts";

let root: string;
let bert: string;
let gpt2: string;
let tensors: Tensors;
let delta: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "extract-"));
  bert = await writeTinyModel(join(root, "bert"), { family: "bert" });
  gpt2 = await writeTinyModel(join(root, "gpt2"), { family: "gpt2" });
  tensors = await trainedTensors(bert);
  delta = await writeTrainedDelta(join(root, "delta"), tensors);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

let count = 0;
const newDirectory = (): string => join(root, `out-${count++}`);

const extract = (options: Partial<ExtractOptions>): Promise<ExtractReport> =>
  extractLora({ from: delta, base: bert, output: newDirectory(), ...options });

/** The weights that a directory gives, by name. */
async function weights(from: string, base: string): Promise<Map<string, Float32Array>> {
  const changes = await openChanges({ from, base });
  const result = new Map<string, Float32Array>();
  for await (const { name } of changes.tensors()) result.set(name, await changes.trained(name));
  return result;
}

function distance(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(energyOf(Float64Array.from(a, (value, i) => value - b[i]!)));
}

/** Factors and merged weights are float32. */
const ROUNDING = 1e-6;

describe("an extracted adapter", () => {
  it("of full rank gives the trained weights, and all else whole: Linear, Embedding", async () => {
    const { output, matrices, whole, energyKept, warnings } = await extract({ energy: 1 });
    const merged = await weights(output, bert);
    for (const [name, { after }] of tensors) {
      expect(distance(merged.get(name)!, after)).toBeLessThan(ROUNDING);
    }
    expect(energyKept).toBeCloseTo(1, 9);
    expect(warnings).toEqual([]);
    expect(matrices.map(({ name }) => name)).toEqual(
      [...tensors.keys()].filter(
        (name) => tensors.get(name)!.shape.length === 2 && name !== "classifier.weight",
      ),
    );
    expect(whole.map(({ name }) => name)).toEqual(
      [...tensors.keys()].filter(
        (name) => tensors.get(name)!.shape.length === 1 || name === "classifier.weight",
      ),
    );
    const { lora } = await readAdapterConfig(output);
    expect(lora).toMatchObject({ bias: "lora_only", taskType: "SEQ_CLS", useDora: false });
    expect(lora.modulesToSave).toEqual(["LayerNorm", "classifier", "score"]);
    expect([lora.targetModules].flat()).toContain("word_embeddings");
  });

  it("of full rank gives the trained weights: Conv1D, and a projection that shares the embedding's", async () => {
    const trained = await trainedTensors(gpt2, { task: "CAUSAL_LM" });
    const from = await writeTrainedModel(join(root, "gpt2-trained"), gpt2, trained);
    const { output, matrices } = await extract({ from, base: gpt2, rank: 16 });
    expect(matrices.every(({ rank }) => rank === 16)).toBe(true);
    const merged = await weights(output, gpt2);
    for (const [name, { after }] of trained) {
      expect(distance(merged.get(name)!, after)).toBeLessThan(ROUNDING);
    }
    const head = merged.get("lm_head.weight")!;
    expect(distance(head, trained.get("transformer.wte.weight")!.after)).toBeLessThan(ROUNDING);
    const config = readFileSync(join(output, "adapter_config.json"), "utf8");
    expect(JSON.parse(config)).toMatchObject({ fan_in_fan_out: true, task_type: "CAUSAL_LM" });
  });

  it("is off by the singular values that it leaves out, and reports so", async () => {
    const { output, matrices, storedBytes } = await extract({ rank: 2 });
    const merged = await weights(output, bert);
    const values = new Map<string, Float64Array>();
    for await (const tensor of (await openChanges({ from: delta, base: bert })).tensors()) {
      if (tensor.kind === "matrix") values.set(tensor.name, singularValues(tensor.change));
    }
    for (const {
      name,
      shape,
      rank,
      singularValues: own,
      norm,
      error,
      energyKept,
      relativeError,
    } of matrices) {
      expect(rank).toBe(2);
      expect(shape).toEqual(tensors.get(name)!.shape);
      const all = values.get(name)!;
      const tail = Math.sqrt(energyOf(all.slice(2)));
      for (const k of [0, 1]) expect(own[k]).toBeCloseTo(all[k]!, 9);
      expect(norm).toBeCloseTo(Math.sqrt(energyOf(all)), 9);
      expect(error).toBeCloseTo(tail, 6);
      expect(relativeError).toBeCloseTo(tail / norm, 5);
      expect(energyKept).toBeCloseTo(1 - (tail / norm) ** 2, 6);
      expect(distance(merged.get(name)!, tensors.get(name)!.after)).toBeCloseTo(tail, 5);
    }
    const stored = Object.fromEntries(
      ["delta.safetensors", "adapter_model.safetensors"].map((file, i) => [
        file,
        readFileSync(join([delta, output][i]!, file)).length,
      ]),
    );
    // A file has a header besides.
    for (const [file, bytes] of [
      ["delta.safetensors", storedBytes.before],
      ["adapter_model.safetensors", storedBytes.after],
    ] as const) {
      expect(bytes).toBeLessThan(stored[file]!);
      expect(bytes).toBeGreaterThan(stored[file]! - 10_000);
    }
  });

  it("has for each matrix the smallest rank that keeps a share of the energy", async () => {
    const { output, matrices } = await extract({ energy: 0.7 });
    const { lora } = await readAdapterConfig(output);
    const ranks = matrices.map(({ rank }) => rank);
    expect(new Set(ranks).size).toBeGreaterThan(1);
    expect(lora.alphaPattern).toEqual(lora.rankPattern);
    expect(lora.loraAlpha).toBe(lora.r);
    for (const { name, rank, energyKept } of matrices) {
      expect(energyKept).toBeGreaterThanOrEqual(0.7);
      expect(lora.rankPattern[name.replace(/\.weight$/, "")] ?? lora.r).toBe(rank);
    }
    expect((await weights(output, bert)).size).toBe(tensors.size);
  });

  it("of an adapter has its change, whatever its scale, DoRA included", async () => {
    const options = {
      r: 3,
      loraAlpha: 5,
      useRslora: true,
      targetModules: ["query", "word_embeddings"],
    };
    for (const useDora of [false, true]) {
      const from = await writeRandomAdapter(newDirectory(), bert, { ...options, useDora });
      const { output, matrices } = await extract({
        from,
        ...(useDora ? { energy: 1 } : { rank: 3 }),
      });
      if (!useDora) expect(matrices.map(({ rank }) => rank)).toEqual([3, 3, 3]);
      const [before, after] = [await weights(from, bert), await weights(output, bert)];
      expect(after.size).toBe(before.size);
      for (const [name, values] of before) {
        expect(distance(after.get(name)!, values)).toBeLessThan(10 * ROUNDING);
      }
    }
  });

  it("of a model without a head has the names of such a model", async () => {
    const bare = new Map(
      [...tensors]
        .filter(([name]) => name.startsWith("bert."))
        .map(([name, own]) => [name.slice("bert.".length), own]),
    );
    const from = await writeTrainedModel(newDirectory(), bert, bare);
    const { output, warnings, matrices } = await extract({ from, energy: 0.7 });
    const { tensors: stored } = await readHeader(join(output, "adapter_model.safetensors"));
    expect([...stored.keys()]).toContain(
      "base_model.model.encoder.layer.0.attention.self.query.lora_A.weight",
    );
    expect([...stored.keys()].filter((key) => /bert|classifier/.test(key))).toEqual([]);
    const { lora } = await readAdapterConfig(output);
    expect(lora).toMatchObject({ taskType: null, modulesToSave: ["LayerNorm"] });
    const ranks = matrices.map(
      ({ name, rank }) => [name.slice(5, -".weight".length), rank] as const,
    );
    for (const [path, rank] of ranks) expect(lora.rankPattern[path] ?? lora.r).toBe(rank);
    expect(warnings).toEqual([expect.stringContaining("is a model without a head for a task")]);
  });

  it("says what --target-modules leave out", async () => {
    const { output, warnings, matrices } = await extract({
      rank: 2,
      targetModules: ["query", "value"],
    });
    expect(matrices).toHaveLength(4);
    expect((await readAdapterConfig(output)).lora).toMatchObject({
      targetModules: ["query", "value"],
      bias: "all",
    });
    expect(warnings).toEqual([
      expect.stringMatching(
        /^bert\.embeddings\.word_embeddings\.weight, .* and 7 more changed as well and are no target: [\d.]+ % of the change's energy is left out\.$/,
      ),
    ]);
  });

  it("predicts, with the task and the tokenizer of what it was made of", async () => {
    const from = await writeTrainedDelta(newDirectory(), tensors);
    const manifest = {
      format: 1,
      lowrankVersion: "0",
      task: {
        name: "sequence-classification",
        state: { labels: ["bad", "good"], problemType: "single_label_classification" },
      },
      baseModel: { name: bert, path: bert, relativePath: "../bert", modelType: "bert" },
      modelConfig: { id2label: { 0: "bad", 1: "good" }, label2id: { bad: 0, good: 1 } },
      maxLength: 32,
      options: { method: "full" },
      result: {
        reason: "completed",
        steps: 1,
        epochs: 1,
        seconds: 1,
        tokens: 1,
        trainLoss: 1,
        keptStep: 1,
      },
    };
    writeFileSync(join(from, "lowrank.json"), JSON.stringify(manifest));
    writeFileSync(join(from, "tokenizer.json"), readFileSync(join(bert, "tokenizer.json")));
    const output = join(root, "deeper", "down", "adapter");
    await extract({ from, rank: 2, output });
    const carried = JSON.parse(
      readFileSync(join(output, "lowrank.json"), "utf8"),
    ) as typeof manifest;
    expect(carried.baseModel).toMatchObject({
      path: bert,
      relativePath: join("..", "..", "..", "bert"),
    });
    expect(carried.result).toBeUndefined();
    expect(readdirSync(output).sort()).toEqual([
      "README.md",
      "adapter_config.json",
      "adapter_model.safetensors",
      "lowrank.json",
      "tokenizer.json",
    ]);
    const predictor = await Predictor.load(output, { threads: 1 });
    const [prediction] = await predictor.predict([WORDS.slice(0, 3).join(" ")]);
    await predictor.close();
    expect(["bad", "good"]).toContain(prediction!.label);
  });
});

/** Nothing is left of an attempt: neither the directory nor a temporary one. */
async function refused(options: Partial<ExtractOptions>): Promise<LowrankError> {
  const output = newDirectory();
  const before = readdirSync(root);
  const error = await failure(extract({ output, ...options }));
  expect(readdirSync(root)).toEqual(before);
  return error;
}

describe("what cannot be extracted", () => {
  it("a rank above a matrix's own: the error names the matrix and its rank", async () => {
    const error = await refused({ rank: 17 });
    expect(error.code).toBe("usage");
    expect(error.message).toContain(
      "rank: expected at most the smaller side of each matrix, got 17:\n" +
        "  bert.encoder.layer.0.attention.self.query.weight [16, 16]: at most 16\n",
    );
    expect(error.message).not.toContain("token_type");
    const named = await refused({ rank: 3, targetModules: ["token_type_embeddings", "query"] });
    expect(named.message).toContain(
      "  bert.embeddings.token_type_embeddings.weight [2, 16]: at most 2\nPass a smaller rank",
    );
  });

  it("a table of two rows is stored with its own rank where it is not asked for", async () => {
    const { matrices } = await extract({ rank: 5 });
    const small = matrices.find(({ name }) => name.includes("token_type"));
    expect(small).toMatchObject({ rank: 2, shape: [2, 16] });
    expect(small!.energyKept).toBeCloseTo(1, 12);
  });

  it("a matrix of one row has rank 1", async () => {
    const base = await writeTinyModel(newDirectory(), {
      family: "bert",
      config: { type_vocab_size: 1 },
    });
    const from = await writeTrainedDelta(newDirectory(), await trainedTensors(base));
    const { matrices, output } = await extract({ from, base, rank: 3 });
    const row = matrices.find(({ name }) => name.includes("token_type"));
    expect(row).toMatchObject({ rank: 1, shape: [1, 16] });
    expect(row!.relativeError).toBeLessThan(ROUNDING);
    expect((await weights(output, base)).size).toBeGreaterThan(matrices.length);
    const named = { from, base, rank: 2, targetModules: ["token_type_embeddings"] };
    expect((await refused(named)).message).toContain(
      "token_type_embeddings.weight [1, 16]: at most 1",
    );
  });

  it("a rank and a share of the energy at once, neither, or impossible ones", async () => {
    expect((await refused({})).message).toBe(
      "rank and energy: expected one of the two, got neither. Pass a rank, for example 8, or a share of the energy to keep, for example 0.95.",
    );
    expect((await refused({ rank: 1, energy: 0.5 })).message).toContain("got both");
    expect((await refused({ rank: 0 })).message).toContain(
      "rank: expected a whole number of at least 1, got 0.",
    );
    expect((await refused({ rank: 1.5 })).code).toBe("usage");
    for (const energy of [0, -0.1, 1.1, Number.NaN]) {
      const { code, message } = await refused({ energy });
      expect(code).toBe("usage");
      expect(message).toContain(`energy: expected a share above 0 and at most 1, got ${energy}.`);
    }
  });

  it("a change for another base", async () => {
    const other = await writeTinyModel(join(root, "other"), {
      family: "bert",
      change: (_, values) => (values[0]! += 1),
    });
    const { code, message } = await refused({ base: other, rank: 2 });
    expect(code).toBe("checkpoint");
    expect(message).toContain("the base model has other values than the change");
  });

  it("numbers that are none, in a change or a model", async () => {
    const whole = await trainedTensors(bert, {
      adjust: (name, values) => {
        if (name.endsWith("0.output.dense.weight")) values[5] = Number.POSITIVE_INFINITY;
      },
    });
    const from = await writeTrainedModel(newDirectory(), bert, whole);
    expect((await refused({ from, rank: 2 })).message).toContain(
      `${from}: bert.encoder.layer.0.output.dense.weight: expected finite numbers, got Infinity at element 5.`,
    );
    const broken = await writeTrainedDelta(newDirectory(), tensors);
    const file = join(broken, "delta.safetensors");
    const { offset } = (await readHeader(file)).tensors.get("bert.pooler.dense.weight")!;
    const bytes = readFileSync(file);
    bytes.writeFloatLE(Number.NaN, offset + 4 * 7);
    writeFileSync(file, bytes);
    expect((await refused({ from: broken, rank: 2 })).message).toContain(
      `${broken}: bert.pooler.dense.weight: expected finite numbers, got NaN at element 7.`,
    );
  });

  it("no change at all, and none of a matrix", async () => {
    expect((await refused({ from: bert, rank: 2 })).message).toBe(
      `${bert}: no tensor differs from those of ${bert}: the change is zero. Check that these are the right directories.`,
    );
    const biases = await trainedTensors(bert, { changes: (name) => name.endsWith("query.bias") });
    const from = await writeTrainedDelta(newDirectory(), biases);
    expect((await refused({ from, rank: 2 })).message).toContain(
      "no matrix changed but those that are stored whole (4 tensors, e.g. bert.encoder.layer.0.attention.self.query.bias)",
    );
    const query = await trainedTensors(bert, { changes: (name) => name.endsWith("query.weight") });
    const other = await writeTrainedDelta(newDirectory(), query);
    expect((await refused({ from: other, rank: 2, targetModules: ["value"] })).message).toContain(
      'none of the matrices that ["value"] names changed; bert.encoder.layer.0.attention.self.query.weight, ' +
        "bert.encoder.layer.1.attention.self.query.weight did.",
    );
  });

  it("an output directory that exists", async () => {
    const output = newDirectory();
    const first = await extract({ rank: 2, output });
    const { code, message } = await failure(extract({ rank: 2, output }));
    expect(code).toBe("io");
    expect(message).toContain("expected a new or empty output directory");
    const again = await extract({ rank: 2, output, overwrite: true });
    expect(again).toEqual(first);
    expect(existsSync(join(output, "adapter_config.json"))).toBe(true);
  });
});

it("memory aside, a change is what a dense matrix of it is", async () => {
  const from = await writeRandomAdapter(newDirectory(), bert, { r: 2 });
  for await (const tensor of (await openChanges({ from, base: bert })).tensors()) {
    if (tensor.kind !== "matrix") continue;
    const [thin, dense] = [
      singularValues(tensor.change),
      singularValues(denseChange(tensor.change)),
    ];
    for (const [k, value] of thin.entries()) expect(value).toBeCloseTo(dense[k]!, 9);
  }
});

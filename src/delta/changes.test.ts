import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyModel } from "../../test/tiny-model.ts";
import {
  trainedTensors,
  writeRandomAdapter,
  writeTrainedDelta,
  writeTrainedModel,
} from "../../test/tiny-trained.ts";
import { readHeader, readFloat32 } from "../io/safetensors.ts";
import { openChanges, type MatrixChange, type TensorChange } from "./changes.ts";
import { denseChange } from "./spectrum.ts";

let root: string;
let bert: string;
let gpt2: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "changes-"));
  bert = await writeTinyModel(join(root, "bert"), { family: "bert" });
  gpt2 = await writeTinyModel(join(root, "gpt2"), { family: "gpt2" });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function list(from: string, base: string): Promise<TensorChange[]> {
  const result: TensorChange[] = [];
  for await (const tensor of (await openChanges({ from, base })).tensors()) result.push(tensor);
  return result;
}

const matrices = (changes: readonly TensorChange[]): MatrixChange[] =>
  changes.filter((change): change is MatrixChange => change.kind === "matrix");

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Math.max(...Array.from(a, (value, i) => Math.abs(value - b[i]!)));
}

/** W' is rounded to float32; the weights are below 2. */
const ROUNDING = 2 ** -23;

describe("the change of a directory", () => {
  it("is the same from a stored change and from a whole model, whatever prefix its names have", async () => {
    const tensors = await trainedTensors(bert);
    const delta = await writeTrainedDelta(join(root, "bert-delta"), tensors);
    const whole = await writeTrainedModel(join(root, "bert-whole"), bert, tensors);
    const bare = new Map([...tensors].map(([name, own]) => [name.replace(/^bert\./, ""), own]));
    const renamed = await writeTrainedModel(join(root, "bert-bare"), bert, bare);
    const expected = await list(delta, bert);
    expect(await list(whole, bert)).toEqual(expected);
    expect(await list(renamed, bert)).toEqual(expected);

    expect(expected.map(({ name }) => name)).toEqual([...tensors.keys()]);
    for (const { name, layer, change } of matrices(expected)) {
      const { before, after } = tensors.get(name)!;
      const difference = Array.from(after, (value, i) => value - before![i]!);
      expect(largestDifference(denseChange(change).data, difference)).toBe(0);
      expect(layer).toBe(name.includes("embeddings") ? "Embedding" : "Linear");
    }
    const others = expected.flatMap((tensor) => (tensor.kind === "other" ? [tensor] : []));
    const added = others.filter(({ isNew }) => isNew).map(({ name }) => name);
    expect(added).toEqual(["classifier.weight", "classifier.bias"]);
    expect(others.every(({ isNew, shape }) => isNew || shape.length === 1)).toBe(true);
  });

  it("leaves out what did not change", async () => {
    const tensors = await trainedTensors(bert, { changes: (name) => name.includes("query") });
    const whole = await writeTrainedModel(join(root, "bert-query"), bert, tensors);
    const names = (await list(whole, bert)).map(({ name }) => name);
    expect(names).toEqual([
      "bert.encoder.layer.0.attention.self.query.weight",
      "bert.encoder.layer.0.attention.self.query.bias",
      "bert.encoder.layer.1.attention.self.query.weight",
      "bert.encoder.layer.1.attention.self.query.bias",
      "classifier.weight",
      "classifier.bias",
    ]);
  });

  it("names the modules that share a weight once, together", async () => {
    const tensors = await trainedTensors(gpt2, { task: "CAUSAL_LM" });
    const whole = await writeTrainedModel(join(root, "gpt2-whole"), gpt2, tensors);
    const changes = await list(whole, gpt2);
    const [embedding] = changes;
    expect(embedding).toMatchObject({
      name: "transformer.wte.weight",
      layer: "Embedding",
      modules: ["transformer.wte", "lm_head"],
    });
    expect(changes.filter(({ name }) => name === "lm_head.weight")).toEqual([]);
    const conv = matrices(changes).find(({ name }) => name.endsWith("h.0.attn.c_attn.weight"));
    expect(conv).toMatchObject({ layer: "Conv1D", shape: [16, 48] });
  });

  const adapters = {
    "LoRA with rank-stabilized scale": { useRslora: true, r: 4, loraAlpha: 6 },
    "LoRA on an embedding": { targetModules: ["word_embeddings", "query"], r: 3 },
    DoRA: { useDora: true, r: 2 },
    PiSSA: { initLoraWeights: "pissa" as const, r: 2 },
    "trained tokens": { trainableTokenIndices: [1, 5], r: 2 },
    "more ranks than the layer has": { r: 20 },
  };
  it.each(Object.entries(adapters))("of an adapter is W' - W: %s", async (name, options) => {
    const from = await writeRandomAdapter(join(root, name), bert, options);
    const changes = await openChanges({ from, base: bert });
    const parameters = changes.base.model.namedParameters();
    let count = 0;
    for await (const tensor of changes.tensors()) {
      if (tensor.kind !== "matrix") continue;
      count++;
      const { shape, values } = parameters.get(tensor.name)!;
      const before = await values({ name: tensor.name, shape, seed: 0 });
      const after = await changes.trained(tensor.name);
      const difference = Array.from(after, (value, i) => value - before[i]!);
      expect(largestDifference(denseChange(tensor.change).data, difference)).toBeLessThan(ROUNDING);
      const isProduct = "left" in tensor.change;
      expect(isProduct).toBe(
        !/DoRA|PiSSA/.test(name) && !(name === "trained tokens" && tensor.layer === "Embedding"),
      );
    }
    expect(count).toBe(/tokens/.test(name) ? 5 : /embedding/.test(name) ? 3 : 4);
  });

  it("of an adapter on Conv1D has the layout of the weight", async () => {
    const from = await writeRandomAdapter(join(root, "gpt2-adapter"), gpt2, { r: 2 });
    const [first] = matrices(await list(from, gpt2));
    expect(first).toMatchObject({ layer: "Conv1D", shape: [16, 48] });
    const { tensors } = await readHeader(join(from, "adapter_model.safetensors"));
    const key = "base_model.model.transformer.h.0.attn.c_attn.lora_";
    const [a, b] = [tensors.get(`${key}A.weight`)!, tensors.get(`${key}B.weight`)!];
    const [down, up] = [await readFloat32(a), await readFloat32(b)]; // [2, 16], [48, 2]
    const element = (i: number, o: number): number =>
      4 * (down[i]! * up[2 * o]! + down[16 + i]! * up[2 * o + 1]!); // alpha 8 / rank 2
    const { data } = denseChange(first!.change);
    expect(data[3 * 48 + 7]).toBeCloseTo(element(3, 7), 12);
  });
});

describe("what is no change of a base", () => {
  it("says what a directory must hold", async () => {
    await expect(openChanges({ from: root, base: bert })).rejects.toThrow(
      `${root}: expected a change (delta_config.json), an adapter (adapter_config.json) or a model (config.json), got none of them.`,
    );
  });

  it("refuses another base's change, another family, other shapes, numbers that are none", async () => {
    const tensors = await trainedTensors(bert);
    const delta = await writeTrainedDelta(join(root, "delta-2"), tensors);
    const other = await writeTinyModel(join(root, "other"), {
      family: "bert",
      change: (_, values) => (values[0]! += 1),
    });
    await expect(list(delta, other)).rejects.toThrow("the base model has other values than");
    await expect(list(gpt2, bert)).rejects.toThrow(
      `${gpt2}: expected a change of ${bert}, a bert model, got a gpt2 model.`,
    );
    const wide = await writeTinyModel(join(root, "wide"), {
      family: "bert",
      config: { intermediate_size: 48 },
    });
    await expect(list(wide, bert)).rejects.toThrow(
      "bert.encoder.layer.0.intermediate.dense.weight: expected [32, 16], got [48, 16]",
    );
    tensors.get("bert.pooler.dense.weight")!.after[3] = Number.NaN;
    const broken = await writeTrainedModel(join(root, "broken"), bert, tensors);
    await expect(list(broken, bert)).rejects.toThrow(
      `${broken}: bert.pooler.dense.weight: expected finite numbers, got NaN at element 3.`,
    );
  });
});

const conformance = join(import.meta.dirname, "../../../shared/conformance");

describe.skipIf(!existsSync(conformance))("the adapters of the conformance data", () => {
  const fixtures = existsSync(conformance)
    ? readdirSync(conformance).filter((name) => existsSync(join(conformance, name, "adapters")))
    : [];
  const cases = fixtures.flatMap((fixture) =>
    readdirSync(join(conformance, fixture, "adapters")).map(
      (adapter) => [fixture, adapter] as const,
    ),
  );
  it.each(cases)("%s/%s: every changed matrix is W' - W", async (fixture, adapter) => {
    const base = join(conformance, fixture);
    const from = join(base, "adapters", adapter);
    const changes = await openChanges({ from, base });
    const parameters = changes.base.model.namedParameters();
    let count = 0;
    for await (const tensor of changes.tensors()) {
      if (tensor.kind !== "matrix") continue;
      count++;
      const { shape, values } = parameters.get(tensor.name)!;
      const before = await values({ name: tensor.name, shape, seed: 0 });
      const after = await changes.trained(tensor.name);
      const difference = Array.from(after, (value, i) => value - before[i]!);
      expect(largestDifference(denseChange(tensor.change).data, difference)).toBeLessThan(
        4 * ROUNDING,
      );
    }
    expect(count).toBeGreaterThan(0);
  });
});

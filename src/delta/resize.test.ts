import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyModel } from "../../test/tiny-model.ts";
import { writeRandomAdapter } from "../../test/tiny-trained.ts";
import { LowrankError } from "../errors.ts";
import { narrowed } from "../io/float16.ts";
import { readFloat32, readHeader, readTensor, writeSafetensors } from "../io/safetensors.ts";
import type { LoraOptions } from "../lora/config.ts";
import { readAdapterConfig } from "../lora/peft-format.ts";
import { openChanges } from "./changes.ts";
import { resizeLora, type ResizeOptions, type ResizeReport } from "./resize.ts";
import { denseChange, energyOf, singularValues } from "./spectrum.ts";

let root: string;
let bert: string;
let gpt2: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "resize-"));
  bert = await writeTinyModel(join(root, "bert"), { family: "bert" });
  gpt2 = await writeTinyModel(join(root, "gpt2"), { family: "gpt2" });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

let count = 0;
const newDirectory = (): string => join(root, `out-${count++}`);

const adapterOf = (base: string, options: LoraOptions): Promise<string> =>
  writeRandomAdapter(newDirectory(), base, options);

const resize = (options: Omit<ResizeOptions, "output">): Promise<ResizeReport> =>
  resizeLora({ output: newDirectory(), ...options });

/** Every change of an adapter, dense. */
async function changesOf(from: string, base: string): Promise<Map<string, Float64Array>> {
  const result = new Map<string, Float64Array>();
  for await (const tensor of (await openChanges({ from, base })).tensors()) {
    if (tensor.kind === "matrix") result.set(tensor.name, denseChange(tensor.change).data);
  }
  return result;
}

const distance = (a: Float64Array, b: Float64Array): number =>
  Math.sqrt(energyOf(a.map((value, i) => value - b[i]!)));

const ALL_KINDS: LoraOptions = {
  r: 6,
  loraAlpha: 9,
  useRslora: true,
  rankPattern: { value: 3 },
  targetModules: ["query", "value", "word_embeddings"],
  bias: "all",
  modulesToSave: ["pooler"],
};

describe("a resized adapter", () => {
  it("is the closest of its rank, and keeps everything else bit for bit", async () => {
    const adapter = await adapterOf(bert, ALL_KINDS);
    writeFileSync(join(adapter, "tokenizer.json"), "{}");
    const { output, matrices, ranksBefore, storedBytes } = await resize({ adapter, rank: 4 });
    expect([...ranksBefore].sort()).toEqual([3, 3, 6, 6, 6]);
    const [before, after] = [await changesOf(adapter, bert), await changesOf(output, bert)];
    for await (const tensor of (await openChanges({ from: adapter, base: bert })).tensors()) {
      const report = matrices.find(({ name }) => name === tensor.name);
      if (tensor.kind !== "matrix" || !report) continue;
      const { name } = tensor;
      expect(report.rank).toBe(name.includes("value") ? 3 : 4);
      expect(report.shape).toEqual(tensor.shape);
      const tail = Math.sqrt(energyOf(singularValues(tensor.change).slice(report.rank)));
      expect(report.error).toBeCloseTo(tail, 5);
      expect(distance(before.get(name)!, after.get(name)!)).toBeCloseTo(tail, 5);
    }
    const [own, stored] = await Promise.all(
      [adapter, output].map((path) => readHeader(join(path, "adapter_model.safetensors"))),
    );
    expect([...stored!.tensors.keys()].sort()).toEqual([...own!.tensors.keys()].sort());
    for (const [key, info] of own!.tensors) {
      if (key.includes("lora_")) continue;
      expect(await readTensor(stored!.tensors.get(key)!)).toEqual(await readTensor(info));
    }
    expect(storedBytes.after).toBeLessThan(storedBytes.before);
    expect(readFileSync(join(output, "tokenizer.json"), "utf8")).toBe("{}");
    const { lora } = await readAdapterConfig(output);
    expect(lora).toMatchObject({ r: 4, loraAlpha: 4, useRslora: false, bias: "all" });
    expect(lora.modulesToSave).toContain("pooler");
    expect(lora.rankPattern).toEqual({
      "bert.encoder.layer.0.attention.self.value": 3,
      "bert.encoder.layer.1.attention.self.value": 3,
    });
  });

  it("of its own rank, or of all its energy, has the same change: Conv1D", async () => {
    const adapter = await adapterOf(gpt2, { r: 3, loraAlpha: 7 });
    for (const options of [{ rank: 3 }, { energy: 1 }]) {
      const { output, matrices } = await resize({ adapter, ...options });
      expect(matrices[0]).toMatchObject({ rank: 3, shape: [16, 48] });
      const [before, after] = [await changesOf(adapter, gpt2), await changesOf(output, gpt2)];
      for (const [name, change] of before) {
        expect(distance(change, after.get(name)!)).toBeLessThan(1e-6);
      }
    }
  });

  it("keeps a share of the energy of each matrix, and options that nothing here knows", async () => {
    const adapter = await adapterOf(bert, { r: 8 });
    const file = join(adapter, "adapter_config.json");
    const config = JSON.parse(readFileSync(file, "utf8")) as object;
    writeFileSync(file, JSON.stringify({ ...config, from_the_future: [1] }));
    const { output, matrices } = await resize({ adapter, energy: 0.8 });
    for (const { energyKept, rank } of matrices) {
      expect(energyKept).toBeGreaterThanOrEqual(0.8);
      expect(rank).toBeLessThan(8);
    }
    const text = readFileSync(join(output, "adapter_config.json"), "utf8");
    expect(JSON.parse(text)).toMatchObject({ from_the_future: [1], peft_type: "LORA" });
    expect(text).toContain('"lora_dropout": 0.0,');
  });

  it("keeps the data type of its factors", async () => {
    const adapter = await adapterOf(bert, { r: 4 });
    const file = join(adapter, "adapter_model.safetensors");
    const { tensors } = await readHeader(file);
    const half = [];
    for (const [name, info] of tensors) {
      const data = narrowed(await readFloat32(info), "BF16");
      half.push({ name, dtype: "BF16" as const, shape: info.shape, data });
    }
    await writeSafetensors(file, half);
    const { output } = await resize({ adapter, rank: 2 });
    const written = await readHeader(join(output, "adapter_model.safetensors"));
    expect([...written.tensors.values()].every(({ dtype }) => dtype === "BF16")).toBe(true);
  });

  it("of an adapter that changes nothing changes nothing", async () => {
    const adapter = await adapterOf(bert, { r: 4 });
    const file = join(adapter, "adapter_model.safetensors");
    const { tensors } = await readHeader(file);
    const zero = [...tensors].map(([name, { shape }]) => ({
      name,
      dtype: "F32" as const,
      shape,
      data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
    }));
    await writeSafetensors(file, zero);
    const { matrices } = await resize({ adapter, energy: 0.9 });
    expect(matrices.map(({ rank, energyKept }) => [rank, energyKept])).toEqual(
      Array.from({ length: 4 }, () => [1, 1]),
    );
  });
});

async function refused(options: Omit<ResizeOptions, "output">): Promise<LowrankError> {
  const before = readdirSync(root);
  const error: unknown = await resize(options).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(LowrankError);
  expect(readdirSync(root)).toEqual(before);
  return error as LowrankError;
}

describe("what cannot be resized", () => {
  it("a rank above the adapter's", async () => {
    const adapter = await adapterOf(bert, { r: 4 });
    const { code, message } = await refused({ adapter, rank: 5 });
    expect(code).toBe("usage");
    expect(message).toBe(
      `rank: expected at most 4, the rank of ${adapter}, got 5. A higher rank adds nothing to what was trained: ` +
        "pass a lower one, or train with a higher rank.",
    );
  });

  it("adapters whose change is more than a product", async () => {
    const dora = await adapterOf(bert, { useDora: true });
    expect((await refused({ adapter: dora, rank: 2 })).message).toBe(
      `${dora}: DoRA gives each output of W + ΔW its norm, so that its change is more than a product, which a lower rank does not keep. ` +
        `Approximate the whole change: lowrank extract --from ${dora} --base MODEL.`,
    );
    const pissa = await adapterOf(bert, { initLoraWeights: "pissa" });
    expect((await refused({ adapter: pissa, rank: 2 })).message).toContain(
      '(init_lora_weights "pissa") changes the base by what it started from',
    );
  });

  it("neither or both of rank and energy, an A without its B, numbers that are none", async () => {
    const adapter = await adapterOf(bert, { r: 4 });
    expect((await refused({ adapter })).code).toBe("usage");
    expect((await refused({ adapter, rank: 1, energy: 1 })).code).toBe("usage");
    const file = join(adapter, "adapter_model.safetensors");
    const { tensors } = await readHeader(file);
    const bytes = readFileSync(file);
    const key = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_";
    bytes.writeFloatLE(Number.NaN, tensors.get(`${key}A.weight`)!.offset);
    writeFileSync(file, bytes);
    expect((await refused({ adapter, rank: 2 })).message).toContain(
      `${adapter}: ${key}A.weight: expected finite numbers, got NaN at element 0.`,
    );
    const half = [];
    for (const [name, { dtype, shape }] of tensors) {
      if (name === `${key}B.weight`) continue;
      half.push({ name, dtype, shape, data: await readTensor(tensors.get(name)!) });
    }
    await writeSafetensors(file, half);
    expect((await refused({ adapter, rank: 2 })).message).toContain(
      `${key}A.weight [4, 16]: expected ${key}B.weight beside it, of the same rank, got none.`,
    );
  });

  it("names what else a directory holds", async () => {
    const message = `${bert}: expected an adapter, got a whole model. Make an adapter of it with extract`;
    await expect(resize({ adapter: bert, rank: 1 })).rejects.toThrow(message);
  });
});

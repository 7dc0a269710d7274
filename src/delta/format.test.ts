import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parameterValues } from "../nn/bind.ts";
import { fromArray } from "../nn/init.ts";
import { Linear } from "../nn/layers.ts";
import {
  applyDelta,
  DELTA_CONFIG_FILE,
  isDeltaDirectory,
  readDelta,
  writeDelta,
} from "./format.ts";
import type { ChangedTensor } from "./format.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "delta-"));
});
afterEach(() => rm(directory, { recursive: true }));

const BASE = Float32Array.of(1, 2, 3, 4, 5, 6);
const CHANGED = Float32Array.of(1.5, 2, 1e-9, -4, 5, 6);
const BIAS = Float32Array.of(0.1, -0.2);
const identity = {
  base_model_name_or_path: "base",
  revision: null,
  base_model_type: "bert",
  task_type: "SEQ_CLS",
};

function linear(weight: Float32Array): Linear {
  const layer = new Linear(3, 2);
  layer.weight.values = fromArray(weight);
  layer.bias!.values = fromArray(Float32Array.of(9, 9));
  return layer;
}

async function* tensors(...list: ChangedTensor[]): AsyncGenerator<ChangedTensor> {
  for (const tensor of list) yield await Promise.resolve(tensor);
}

const weight: ChangedTensor = { name: "weight", shape: [2, 3], base: BASE, changed: CHANGED };

const save = (...list: ChangedTensor[]): Promise<void> =>
  writeDelta(directory, identity, "F32", tensors(...list));

describe("a stored change", () => {
  it("gives the changed weights back bit for bit, and new ones whole", async () => {
    await save(weight, { name: "bias", shape: [2], changed: BIAS });
    expect(isDeltaDirectory(directory)).toBe(true);
    const model = linear(BASE);
    applyDelta(model, await readDelta(directory));
    expect(await parameterValues("weight", model.weight, 0)).toEqual(CHANGED);
    expect(await parameterValues("bias", model.bias!, 0)).toEqual(BIAS);
  });

  it("leaves out what did not change", async () => {
    await save(weight, { name: "bias", shape: [2], base: BIAS, changed: BIAS });
    expect((await readDelta(directory)).names).toEqual(["weight"]);
  });

  it("refuses a base with other values or shapes", async () => {
    await save(weight);
    const delta = await readDelta(directory);
    const other = linear(BASE.with(0, 7));
    applyDelta(other, delta);
    await expect(parameterValues("weight", other.weight, 0)).rejects.toThrow(
      `weight: the base model has other values than the change in ${directory} was made of (base). ` +
        "Use that base model.",
    );
    expect(() => applyDelta(new Linear(2, 3), delta)).toThrow(
      "weight: expected [3, 2], got [2, 3]",
    );
  });

  it("refuses an empty change and numbers that are none, and writes nothing", async () => {
    await expect(save({ ...weight, changed: BASE })).rejects.toThrow("no tensor differs");
    await expect(save({ ...weight, changed: BASE.with(1, Number.NaN) })).rejects.toThrow(
      "weight: expected finite numbers to save, got NaN at element 1.",
    );
    expect(isDeltaDirectory(directory)).toBe(false);
  });

  it("names what is wrong with its description", async () => {
    await save(weight);
    const file = join(directory, DELTA_CONFIG_FILE);
    const config = JSON.parse(await readFile(file, "utf8")) as object;
    await writeFile(file, JSON.stringify({ ...config, dtype: "F64" }));
    await expect(readDelta(directory)).rejects.toThrow(`${file}: dtype: `);
  });
});

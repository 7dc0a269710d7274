import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { sentimentRows, writeTinyModel } from "../../test/tiny-model.ts";
import { readFloat32, readHeader } from "../io/safetensors.ts";
import type { TrainingEvent } from "./events.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";

let root: string;
let model: string;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "continued-"));
  model = await writeTinyModel(join(root, "bert"), { family: "bert" });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const rows = sentimentRows(40);

function options(more: Partial<TrainerOptions>): TrainerOptions {
  return { model, data: rows, threads: 1, overwrite: true, ...more };
}

async function train(more: Partial<TrainerOptions>): Promise<readonly TrainingEvent[]> {
  const trainer = await Trainer.create(options(more));
  const events: TrainingEvent[] = [];
  trainer.on((event) => events.push(event));
  await trainer.train().finally(() => trainer.close());
  return events;
}

const read = (directory: string, file: string) =>
  JSON.parse(readFileSync(join(directory, file), "utf8"));

function bestLoss(events: readonly TrainingEvent[]): number {
  const best = events.findLast((event) => event.type === "evaluated" && event.isBest);
  return best?.type === "evaluated" ? best.metrics.scalars["loss"]! : Number.NaN;
}

async function weights(directory: string): Promise<Map<string, Float32Array>> {
  const { tensors } = await readHeader(join(directory, "adapter_model.safetensors"));
  const values = new Map<string, Float32Array>();
  for (const [name, info] of tensors) values.set(name, await readFloat32(info));
  return values;
}

it.each([
  ["plain", { r: 4, loraAlpha: 12, targetModules: ["query", "value"] }],
  ["DoRA from the weights", { r: 2, useDora: true, initLoraWeights: "pissa" as const }],
])("an adapter is trained on: %s", async (_, lora) => {
  const [first, second] = [join(root, "first"), join(root, "second")];
  const common = { validationData: rows, learningRate: 0.01 };
  const before = await train({ ...common, ...lora, output: first, epochs: 4 });
  // The labels come in another order, and keep their places.
  const still = { steps: 1, learningRate: 1e-12, data: rows.toReversed() };
  const after = await train({ ...common, ...still, adapter: first, output: second });

  const [old, own] = [await weights(first), await weights(second)];
  expect([...own.keys()]).toEqual([...old.keys()]);
  for (const [name, values] of own) {
    for (const [i, value] of values.entries()) expect(value).toBeCloseTo(old.get(name)![i]!, 7);
  }
  expect(read(second, "adapter_config.json")).toEqual(read(first, "adapter_config.json"));
  expect(read(second, "lowrank.json").modelConfig).toEqual(read(first, "lowrank.json").modelConfig);
  // It goes on where the first run came to.
  expect(bestLoss(after)).toBeCloseTo(bestLoss(before), 6);
});

it("keeps labels that the new data lacks", async () => {
  const [first, second] = [join(root, "three"), join(root, "three-again")];
  const mixed = [...rows, { text: "neither", label: "mixed" }, { text: "so so", label: "mixed" }];
  await train({ r: 4, output: first, steps: 2, data: mixed });
  await train({ adapter: first, output: second, steps: 2 });
  const labels = { 0: "bad", 1: "good", 2: "mixed" };
  expect(read(second, "lowrank.json").modelConfig.id2label).toEqual(labels);
});

it("warns of a base whose head was trained for other labels", async () => {
  const directory = join(root, "whole");
  await train({ method: "full", save: "model", output: directory, steps: 1 });
  const spam = rows.map(({ text, label }) => ({ text, label: label === "good" ? "ham" : "spam" }));
  const warnings = async (data: TrainerOptions["data"]): Promise<string[]> => {
    const events = await train({ model: directory, data, output: join(root, "on"), steps: 1 });
    return events.flatMap((event) => (event.type === "warning" ? [event.message] : []));
  };
  expect(await warnings(spam)).toEqual([
    "The base model's head was trained for bad, good, and goes on with ham, spam in their places.",
  ]);
  expect(await warnings(rows)).toEqual([]);
});

it("refuses what does not go with it", async () => {
  const adapter = join(root, "kept");
  await train({ r: 4, output: adapter, steps: 1 });
  const failure = async (more: Partial<TrainerOptions>): Promise<string> =>
    train({ adapter, output: join(root, "never"), ...more }).then(
      () => "",
      (error: Error) => error.message,
    );
  expect(await failure({ r: 8, useDora: true })).toBe(
    "options: r: comes from the adapter that is trained on; leave it out; " +
      "useDora: comes from the adapter that is trained on; leave it out.",
  );
  expect(await failure({ method: "full" })).toContain("adapter: goes with method lora");
  const three = [...rows, { text: "neither", label: "mixed" }, { text: "so so", label: "mixed" }];
  expect(await failure({ data: three })).toBe(
    "adapter: expected the labels that it was trained for (bad, good), got also mixed. Leave these out, or train a new adapter.",
  );
  expect(await failure({ output: adapter })).toContain("refusing to overwrite");
  const config = read(adapter, "adapter_config.json");
  const changed = { ...config, task_type: "TOKEN_CLS" };
  writeFileSync(join(adapter, "adapter_config.json"), JSON.stringify(changed));
  expect(await failure({})).toBe(
    `adapter: ${adapter}: expected an adapter for SEQ_CLS, got one for TOKEN_CLS. Choose its task, or leave it out.`,
  );
  expect(await failure({ adapter: join(root, "nothing") })).toContain(join(root, "nothing"));
});

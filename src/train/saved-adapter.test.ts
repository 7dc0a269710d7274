/** @file Adapters whose files say something unusual, and adapters for another base model. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sentimentRows, writeTinyModel } from "../../test/tiny-model.ts";
import { LowrankError } from "../errors.ts";
import { readHeader } from "../io/safetensors.ts";
import { findTask } from "../tasks/registry.ts";
import { Predictor } from "./predict.ts";
import { findAdapter } from "./saved-adapter.ts";
import { Trainer } from "./trainer.ts";

let root: string;
let bert: string;
let gpt2: string;
let adapter: string;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "saved-"));
  bert = await writeTinyModel(join(root, "bert"), { family: "bert" });
  gpt2 = await writeTinyModel(join(root, "gpt2"), { family: "gpt2" });
  adapter = join(root, "adapter");
  await train(bert, adapter);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const rows = sentimentRows(8);

/** Train for two steps; what was warned of. */
async function train(model: string, output: string): Promise<string[]> {
  const trainer = await Trainer.create({ model, data: rows, output, r: 2, steps: 2, threads: 1 });
  const warnings: string[] = [];
  trainer.on((event) => {
    if (event.type === "warning") warnings.push(event.message);
    if (event.type === "started") expect(event.device).toBe("cpu");
  });
  await trainer.train();
  await trainer.close();
  return warnings;
}

/** A copy of the adapter with a changed adapter_config.json, without lowrank.json on request. */
function changed(name: string, options: object, { manifest = true } = {}): string {
  const copy = join(root, name);
  cpSync(adapter, copy, { recursive: true });
  if (!manifest) rmSync(join(copy, "lowrank.json"));
  const file = join(copy, "adapter_config.json");
  const stored = JSON.parse(readFileSync(file, "utf8")) as object;
  writeFileSync(file, JSON.stringify({ ...stored, ...options }));
  return copy;
}

it("unknown options are reported by whatever loads the adapter", async () => {
  const copy = changed("unknown", { invented_option: 1 });
  const predictor = await Predictor.load(copy, { threads: 1 });
  const warning = `${join(copy, "adapter_config.json")}: ignored unknown option invented_option.`;
  expect(predictor.warnings).toEqual([expect.stringContaining(warning)]);
  await predictor.evaluate(rows);
  expect(predictor.warnings).toEqual([expect.stringContaining(warning)]);
  await predictor.close();
});

describe("a base model of another type", () => {
  const remedy = "Use the model that the adapter was trained on.";

  it("is refused by what lowrank.json says", async () => {
    await expect(Predictor.load(adapter, { model: gpt2 })).rejects.toThrow(
      `${adapter}: is for a model of type bert, ${gpt2} is of type gpt2. ${remedy}`,
    );
  });

  it("is refused by the keys of an adapter from elsewhere", async () => {
    const copy = changed("foreign", {}, { manifest: false });
    await expect(Predictor.load(copy, { model: gpt2 })).rejects.toThrow(
      `${copy}: is for a model of type bert, ${gpt2} is of type gpt2. ${remedy}`,
    );
    expect((await findAdapter(copy)).baseModel).toBe(bert);
  });
});

it("a setting of another problem is refused", async () => {
  await expect(Predictor.load(adapter, { threshold: 0.9 })).rejects.toThrow(
    "threshold: the adapter's task, sequence-classification, has no such setting as it was trained (it has: none).",
  );
});

it("a checkpoint without pooler gets a new one, which is trained and stored", async () => {
  const model = await writeTinyModel(join(root, "plain"), { family: "bert", task: "TOKEN_CLS" });
  const output = join(root, "pooled");
  expect(await train(model, output)).toEqual([
    `${model}: the checkpoint has no bert.pooler.dense.weight, bert.pooler.dense.bias. ` +
      "They are new, with random values, and trained from these.",
  ]);
  const { tensors } = await readHeader(join(output, "adapter_model.safetensors"));
  expect([...tensors.keys()].filter((key) => key.includes("pooler"))).toEqual([
    "base_model.model.bert.pooler.dense.bias",
    "base_model.model.bert.pooler.dense.weight",
  ]);
  const predictor = await Predictor.load(output, { threads: 1 });
  expect(predictor.warnings).toEqual([]);
  await predictor.close();
  // The adapter of a model with a pooler, on one without.
  const lacking = await Predictor.load(adapter, { model, threads: 1 });
  expect(lacking.warnings).toEqual([
    expect.stringContaining("neither the checkpoint nor the adapter has bert.pooler.dense.weight"),
  ]);
  await lacking.close();
});

it("any description is read, or one of our errors", async () => {
  const copy = changed("described", {});
  const file = join(copy, "lowrank.json");
  const good = JSON.parse(readFileSync(file, "utf8")) as Record<string, object>;
  const key = fc.constantFrom(...Object.keys(good), "task", "baseModel");
  const inner = fc.constantFrom("name", "state", "path", "relativePath", "modelType");
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom("bert", "gpt2", "ner", "\0", "a".repeat(5000)),
  );
  const change = fc.tuple(key, fc.option(inner), value);
  let found = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 2 }), fc.boolean(), async (changes, asked) => {
      const stored = structuredClone(good) as Record<string, unknown>;
      for (const [name, part, own] of changes) {
        const whole = stored[name];
        if (part !== null && typeof whole === "object" && whole !== null)
          (whole as Record<string, unknown>)[part] = own;
        else stored[name] = own;
      }
      writeFileSync(file, JSON.stringify(stored));
      try {
        const { manifest } = await findAdapter(copy, asked ? bert : undefined);
        findTask(manifest!.task.name, file).restore(manifest!.task.state, file);
        found++;
      } catch (error) {
        if (!(error instanceof LowrankError)) throw error;
      }
    }),
    { numRuns: 300, seed: 7 },
  );
  expect(found).toBeGreaterThan(20);
});

/** @file Predictors of different tasks on one engine. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { sentimentRows, writeTinyModel } from "../../test/tiny-model.ts";
import { Engine } from "../runtime/engine.ts";
import type { EntityPrediction } from "../tasks/token-classification.ts";
import { Predictor } from "./predict.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";

let root: string;
let model: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "shared-"));
  model = await writeTinyModel(join(root, "bert"), { family: "bert" });
  const rows = sentimentRows(8);
  await train("reviews", { data: rows, targetModules: ["query", "value"] });
  await train("topics", {
    data: rows.map(({ text }, i) => ({ text, label: `topic ${i % 3}` })),
    targetModules: ["key"],
    bias: "all",
  });
  await train("pissa", { data: rows, initLoraWeights: "pissa" });
  const tags = rows.map(({ text }) => {
    const tokens = text.split(" ");
    return { tokens, tags: tokens.map((word) => (word === "film" ? "B-ART" : "O")) };
  });
  await train("names", { task: "ner", data: tags });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function train(name: string, options: Omit<TrainerOptions, "model">): Promise<void> {
  const output = join(root, name);
  const fixed = { model, output, r: 2, steps: 20, learningRate: 0.01, threads: 1 };
  const trainer = await Trainer.create({ ...fixed, validationSplit: 0, ...options });
  await trainer.train();
  await trainer.close();
}

const TEXTS = ["the film was good", "ugly"];

describe("shareWith", () => {
  it("gives what each predictor gives alone, whoever is closed first", async () => {
    const names = ["reviews", "topics", "pissa", "names"];
    const alone: unknown[] = [];
    for (const name of names) {
      const predictor = await Predictor.load(join(root, name), { threads: 1 });
      alone.push(await predictor.predict(TEXTS));
      await predictor.close();
    }
    const first = await Predictor.load(join(root, names[0]!), { threads: 1 });
    const others = await Promise.all(
      names.slice(1).map((name) => Predictor.load(join(root, name), { shareWith: first })),
    );
    const together = [first, ...others];
    const predictions = await Promise.all(together.map((one) => one.predict(TEXTS)));
    expect(predictions).toEqual(alone);

    await first.close();
    await first.close();
    const [, topics] = together;
    const last = await Predictor.load<EntityPrediction>(join(root, "names"), { shareWith: topics });
    expect(await last.predict(TEXTS)).toEqual(alone[3]);
    for (const predictor of others) await predictor.close();
    expect(await last.predict(TEXTS)).toEqual(alone[3]);
    await last.close();
    await expect(last.predict(TEXTS)).rejects.toThrow("the engine stopped");
  });

  it("puts the base's weights into the engine once", async () => {
    const put = vi.spyOn(Engine.prototype, "put");
    const first = await Predictor.load(join(root, "reviews"), { threads: 1 });
    const all = put.mock.calls.length;
    const second = await Predictor.load(join(root, "topics"), { shareWith: first });
    const more = put.mock.calls.slice(all).map(([name]) => name.replace(/^model1\//, ""));
    // Its own: 2 layers with A and B, a head, all biases. The rest is there.
    expect(more).toContain("bert.encoder.layer.1.attention.self.key.lora_A.weight");
    expect(more).toContain("bert.encoder.layer.0.attention.self.query.bias");
    expect(more).toContain("classifier.weight");
    expect(more.filter((name) => !/lora_|bias$|^classifier/.test(name))).toEqual([]);
    put.mockRestore();
    await first.close();
    await second.close();
  });
});

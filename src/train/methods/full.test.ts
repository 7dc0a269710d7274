import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { sentimentRows, writeTinyModel } from "../../../test/tiny-model.ts";
import { readHeader } from "../../io/safetensors.ts";
import { AutoModel } from "../../models/auto.ts";
import type { StartedEvent, TrainingEvent } from "../events.ts";
import { Predictor } from "../predict.ts";
import { Trainer, type TrainerOptions } from "../trainer.ts";

let root: string;
let bert: string;
let gpt2: string;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "full-"));
  bert = await writeTinyModel(join(root, "bert"), { family: "bert" });
  gpt2 = await writeTinyModel(join(root, "gpt2"), { family: "gpt2" });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const texts = ["the film was great", "awful", "it is so nice and very very good"];

/** Train, save into `name`, and predict with the trained weights. */
async function train(name: string, more: Partial<TrainerOptions> = {}) {
  const output = join(root, name);
  const trainer = await Trainer.create({
    model: bert,
    data: sentimentRows(40),
    method: "full",
    learningRate: 0.01,
    epochs: 10,
    threads: 1,
    output,
    ...more,
  });
  const events: TrainingEvent[] = [];
  trainer.on((event) => events.push(event));
  const { metrics } = await trainer.train();
  const predictions = await trainer.predict(texts);
  await trainer.close();
  const started = events.find(({ type }) => type === "started") as StartedEvent;
  return { output, started, predictions, accuracy: metrics?.scalars["accuracy"] };
}

async function predict(directory: string, model?: string) {
  const predictor = await Predictor.load(directory, { threads: 1, model });
  const predictions = await predictor.predict(texts);
  await predictor.close();
  return predictions;
}

/** Names of the tensors of a stored change. */
async function changed(output: string): Promise<string[]> {
  const { tensors } = await readHeader(join(output, "delta.safetensors"));
  return [...tensors.keys()].filter((name) => !name.includes(".exact_"));
}

describe("full fine-tuning", () => {
  it("trains all weights and writes a model that predicts the same by itself", async () => {
    const { output, started, predictions, accuracy } = await train("model");
    expect(accuracy).toBe(1);
    expect(started).toMatchObject({ method: "full", saves: "model" });
    expect(started.trainableParameters).toBe(started.parameters);
    expect(started.storedBytes).toBe(4 * started.parameters);
    expect(await predict(output)).toEqual(predictions);
    const config = JSON.parse(readFileSync(join(output, "config.json"), "utf8")) as object;
    expect(config).toMatchObject({
      architectures: ["BertForSequenceClassification"],
      id2label: { 0: "bad", 1: "good" },
    });
    await expect(Predictor.load(output, { model: bert })).rejects.toThrow("is a whole model");
    // It is a base for further training like any other.
    await AutoModel.fromPretrained(output, { task: "SEQ_CLS" });
  });

  it("stores the change alone, which restores every weight bit for bit", async () => {
    const whole = await train("whole");
    const { output, started, predictions } = await train("delta", { save: "delta" });
    expect(started.saves).toBe("delta");
    expect(existsSync(join(output, "model.safetensors"))).toBe(false);
    expect(await predict(output)).toEqual(predictions);
    expect(predictions).toEqual(whole.predictions);
    await expect(predict(output, gpt2)).rejects.toThrow(
      `${output}: is for a model of type bert, ${gpt2} is of type gpt2.`,
    );
    const other = await writeTinyModel(join(root, "other"), {
      family: "bert",
      change: (_, values) => void (values[0]! += 1),
    });
    await expect(predict(output, other)).rejects.toThrow("the base model has other values");
  });

  it("stores half as much in 16 bits", async () => {
    const { output, started, predictions } = await train("half", {
      save: "delta",
      saveDtype: "bf16",
    });
    expect(started.storedBytes).toBe(2 * started.parameters);
    const [[first], [expected]] = [await predict(output), predictions];
    expect(first!.score).toBeCloseTo(expected!.score, 2);
  });

  it("trains the last layers, what follows them and the head alone", async () => {
    const last = await train("last", { save: "delta", trainLastLayers: 1, model: gpt2 });
    const names = await changed(last.output);
    expect(names).toHaveLength(15);
    expect(names.every((name) => /^(?:transformer\.(?:h\.1|ln_f)|score)\./.test(name))).toBe(true);
    await expect(train("none", { trainLastLayers: 3 })).rejects.toThrow(
      "trainLastLayers: expected at most 2, the model's layers (bert.encoder.layer), got 3.",
    );
    expect(existsSync(join(root, "none"))).toBe(false);
  });

  it("trains chosen modules and the head", async () => {
    const options: Partial<TrainerOptions> = { save: "delta", trainModules: ["query", "pooler"] };
    const names = await changed((await train("chosen", options)).output);
    expect(names.map((name) => name.replace(/^bert\./, "")).toSorted()).toEqual([
      "classifier.bias",
      "classifier.weight",
      "encoder.layer.0.attention.self.query.bias",
      "encoder.layer.0.attention.self.query.weight",
      "encoder.layer.1.attention.self.query.bias",
      "encoder.layer.1.attention.self.query.weight",
      "pooler.dense.bias",
      "pooler.dense.weight",
    ]);
    await expect(train("none", { trainModules: String.raw`.*\.h\.\d` })).rejects.toThrow(
      String.raw`trainModules: ".*\\.h\\.\\d" matches no module with weights. The model has: bert, `,
    );
  });
});

test.each([
  [{ r: 4 }, "r: goes with method lora, not with full; leave it out"],
  [{ save: "adapter" }, 'save: expected "model" or "delta" with method full, got "adapter"'],
  [{ method: "lora", save: "delta" }, 'save: expected "adapter" with method lora, got "delta"'],
  [{ method: "lora", trainLastLayers: 1 }, "trainLastLayers: goes with method full, not with lora"],
  [{ method: "lora", saveDtype: "f16" }, "saveDtype: goes with method full, not with lora"],
] as const)("%o do not go together", async (options, message) => {
  await expect(train("none", options as Partial<TrainerOptions>)).rejects.toThrow(message);
});

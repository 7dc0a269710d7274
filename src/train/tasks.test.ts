/** @file Every kind of sequence classification, and language modelling, trained on a tiny model: one batch is
 * learned by heart, saved, and predicted again. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sentimentRows, writeTinyModel } from "../../test/tiny-model.ts";
import type { LanguagePrediction } from "../tasks/causal-lm.ts";
import type {
  MultiLabelPrediction,
  RegressionPrediction,
} from "../tasks/sequence-classification.ts";
import { Predictor } from "./predict.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";

let root: string;
let bert: string;
let gpt2: string;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "tasks-"));
  bert = await writeTinyModel(join(root, "bert"), { family: "bert" });
  gpt2 = await writeTinyModel(join(root, "gpt2"), {
    family: "gpt2",
    task: "CAUSAL_LM",
    change: enlarge,
  });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Embeddings are the head too: small ones could not tell tokens apart. */
function enlarge(name: string, values: Float32Array): void {
  if (name.endsWith("wte.weight")) for (const [i, value] of values.entries()) values[i] = 5 * value;
}

const COMMON = {
  r: 8,
  threads: 1,
  validationSplit: 0,
  steps: 150,
  schedule: "constant",
  learningRate: 0.01,
  overwrite: true,
} as const;

/** Train on data and evaluate on the same; the adapter is saved. */
async function learn(options: Partial<TrainerOptions> & Pick<TrainerOptions, "data">) {
  const output = join(root, "out");
  const trainer = await Trainer.create({ model: bert, ...COMMON, output, ...options });
  const before = await trainer.evaluate(options.data);
  await trainer.train();
  const after = await trainer.evaluate(options.data);
  await trainer.close();
  return { output, before, after };
}

async function predict<P>(directory: string, inputs: readonly (string | object)[]): Promise<P[]> {
  const predictor = await Predictor.load<P>(directory, { threads: 1 });
  const predictions = await predictor.predict(inputs as string[]);
  await predictor.close();
  return predictions;
}

const texts = sentimentRows(8);

describe("a tiny model learns one batch", () => {
  it("of several labels", async () => {
    const data = texts.map(({ text, label }) => ({
      text,
      labels: [label, ...(text.includes("film") ? ["film"] : [])],
    }));
    const { output, after } = await learn({ data });
    expect(after.scalars).toMatchObject({ microF1: 1, macroF1: 1, subsetAccuracy: 1 });
    expect(after.scalars["loss"]).toBeLessThan(0.02);
    const predictions = await predict<MultiLabelPrediction>(
      output,
      texts.map(({ text }) => text),
    );
    expect(predictions.map(({ labels }) => labels.toSorted())).toEqual(
      data.map(({ labels }) => labels.toSorted()),
    );
    const strict = await Predictor.load<MultiLabelPrediction>(output, {
      threads: 1,
      threshold: 0.9999,
    });
    expect((await strict.predict(["film"]))[0]!.labels).toEqual([]);
    await strict.close();
  });

  it("of numbers", async () => {
    const data = texts.map(({ text, label }, i) => ({
      text,
      score: (label === "good" ? 1 : -1) + i / 16,
    }));
    const { output, before, after } = await learn({ data, steps: 300 });
    expect(before.scalars["mse"]).toBeGreaterThan(0.5);
    expect(after.scalars["loss"]).toBeCloseTo(after.scalars["mse"]!, 6);
    expect(after.scalars["mse"]).toBeLessThan(0.01);
    const [first] = await predict<RegressionPrediction>(output, [data[0]!.text]);
    expect(Math.abs(first!.value - data[0]!.score)).toBeLessThan(0.3);
  });

  it("of pairs, whose order matters", async () => {
    const [a, b] = ["good film", "bad film"];
    const data = [
      { premise: a, hypothesis: b, label: "worse" },
      { premise: b, hypothesis: a, label: "better" },
      { premise: a, hypothesis: a, label: "same" },
      { premise: b, hypothesis: b, label: "same" },
      { premise: a, hypothesis: "", label: "nothing" },
    ];
    const { output, after } = await learn({ data });
    expect(after.scalars["accuracy"]).toBe(1);
    const inputs = data.map(({ premise, hypothesis }) => ({ text: premise, textPair: hypothesis }));
    const labels = (await predict(output, inputs)).map(({ label }: any) => label);
    expect(labels).toEqual(data.map(({ label }) => label));
  });

  it("of texts", async () => {
    const task = "causal-lm";
    const { output, before, after } = await learn({
      model: gpt2,
      task,
      data: texts,
      textColumn: "text",
    });
    expect(after.scalars["perplexity"]).toBeCloseTo(Math.exp(after.scalars["loss"]!), 3);
    expect(after.scalars["perplexity"]! * 2).toBeLessThan(before.scalars["perplexity"]!);
    const [known, other] = await predict<LanguagePrediction>(output, [
      texts[0]!.text,
      "ugly ugly ugly ugly ugly",
    ]);
    expect(known!.perplexity * 5).toBeLessThan(other!.perplexity);
  });

  it("of completions: only they are learned", async () => {
    const task = "causal-lm";
    const data = texts.map(({ text, label }) => ({ prompt: text, completion: ` ${label}` }));
    const { output, after } = await learn({ model: gpt2, task, data });
    // A completion is one word and the end.
    expect(after.details["tokens"]).toBe(2 * data.length);
    expect(after.scalars["loss"]).toBeLessThan(0.02);
    const opposite = data.map(({ prompt, completion }) => ({
      prompt,
      completion: completion === " good" ? " bad" : " good",
    }));
    const wrong = await predict<LanguagePrediction>(output, opposite);
    for (const { nll } of wrong) expect(nll).toBeGreaterThan(3);
  });

  it("of a text file", async () => {
    const file = join(root, "text.txt");
    writeFileSync(file, `${"the film was very good\n\nit is a sad film\n".repeat(20)}`);
    const { before, after } = await learn({ model: gpt2, task: "clm", data: file, maxLength: 16 });
    expect(after.scalars["perplexity"]).toBeLessThan(2);
    expect(before.scalars["perplexity"]).toBeGreaterThan(10);
  });
});

it("gives no loss and no NaN where nothing is to be predicted", async () => {
  const trainer = await Trainer.create({
    model: gpt2,
    task: "causal-lm",
    data: [{ prompt: "good", completion: "" }],
    ...COMMON,
    steps: 2,
  });
  const prediction = (
    await trainer.predict<LanguagePrediction>([{ prompt: "", completion: "" }])
  )[0]!;
  expect(Number.isFinite(prediction.nll)).toBe(true);
  const { trainLoss } = await trainer.train();
  expect(Number.isFinite(trainLoss)).toBe(true);
  await trainer.close();
});

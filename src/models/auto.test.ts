/** @file Heads of checkpoints that do not fit the data. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { sizeOf } from "../graph/shape.ts";
import { writeSafetensors } from "../io/safetensors.ts";
import { AutoModel, modelFromConfig } from "./auto.ts";

const BERT = {
  model_type: "bert",
  vocab_size: 20,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  intermediate_size: 16,
  max_position_embeddings: 16,
};
const LLAMA = {
  model_type: "llama",
  vocab_size: 20,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  intermediate_size: 16,
};

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "auto-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Write a classifier's checkpoint with all its weights. */
async function writeClassifier(config: Record<string, unknown>, name: string): Promise<string> {
  const directory = mkdtempSync(join(root, name));
  const tensors = [...modelFromConfig(config).model.namedParameters()].map(
    ([parameter, { shape }]) => ({
      name: parameter,
      dtype: "F32" as const,
      shape,
      data: new Float32Array(sizeOf(shape)),
    }),
  );
  await writeSafetensors(join(directory, "model.safetensors"), tensors, { format: "pt" });
  writeFileSync(join(directory, "config.json"), JSON.stringify(config));
  return directory;
}

it("names a head of another size, and replaces it on request", async () => {
  const directory = await writeClassifier({ ...BERT, num_labels: 3 }, "bert");
  const config = { num_labels: 5 };
  await expect(AutoModel.fromPretrained(directory, { config })).rejects.toThrowError(
    [
      `${directory}: the checkpoint's head is for 3 outputs, the data needs 5:`,
      "  classifier.weight: expected [5, 8], got [3, 8]",
      "  classifier.bias: expected [5], got [3]",
      "Set newHead to train a new head in its place, or use data with the checkpoint's labels.",
    ].join("\n"),
  );
  const { newParameters } = await AutoModel.fromPretrained(directory, { config, newHead: true });
  expect(newParameters).toEqual(["classifier.weight", "classifier.bias"]);
  const same = await AutoModel.fromPretrained(directory, { newHead: true });
  expect(same.newParameters).toEqual([]);
});

it("does not take a checkpoint of another model for one with another head", async () => {
  const directory = await writeClassifier({ ...BERT, num_labels: 3 }, "wide");
  const config = { num_labels: 5, hidden_size: 12 };
  const loading = AutoModel.fromPretrained(directory, { config, newHead: true });
  await expect(loading).rejects.toThrowError("bert.embeddings.word_embeddings.weight");
});

it("does not make up the head of a language model", async () => {
  const directory = await writeClassifier({ ...LLAMA, tie_word_embeddings: false }, "llama");
  const loading = AutoModel.fromPretrained(directory, { task: "CAUSAL_LM" });
  await expect(loading).rejects.toThrowError("lm_head.weight");
});

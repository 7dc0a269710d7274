/** @file Heads of checkpoints that do not fit the data. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import * as fc from "fast-check";
import { LowrankError } from "../errors.ts";
import { sizeOf } from "../graph/shape.ts";
import { writeSafetensors } from "../io/safetensors.ts";
import { printGraph } from "../graph/print.ts";
import { AutoModel, FAMILIES, modelFromConfig } from "./auto.ts";
import type { TaskType } from "./family.ts";
import { modelInputs } from "./inputs.ts";

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

/** Write a model's checkpoint, a classifier's by default, with all its weights. */
async function writeModel(
  config: Record<string, unknown>,
  name: string,
  task: TaskType = "SEQ_CLS",
): Promise<string> {
  const directory = mkdtempSync(join(root, name));
  const tensors = [...modelFromConfig(config, task).model.namedParameters()].map(
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
  const directory = await writeModel({ ...BERT, num_labels: 3 }, "bert");
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

it("clears names of labels where their number is another, as transformers does", async () => {
  const id2label = { 0: "a", 1: "b", 2: "c" };
  const directory = await writeModel(
    { ...BERT, id2label, label2id: { a: 0, b: 1, c: 2 } },
    "named",
  );
  const read = async (num_labels: number) =>
    (await AutoModel.fromPretrained(directory, { config: { num_labels }, newHead: true })).config;
  expect(await read(3)).toMatchObject({ id2label });
  expect(await read(5)).toMatchObject({ id2label: undefined, label2id: undefined, num_labels: 5 });
});

it("does not take a checkpoint of another model for one with another head", async () => {
  const directory = await writeModel({ ...BERT, num_labels: 3 }, "wide");
  const config = { num_labels: 5, hidden_size: 12 };
  const loading = AutoModel.fromPretrained(directory, { config, newHead: true });
  await expect(loading).rejects.toThrowError("bert.embeddings.word_embeddings.weight");
});

it("does not make up the head of a language model", async () => {
  const directory = await writeModel({ ...LLAMA, tie_word_embeddings: false }, "llama");
  const loading = AutoModel.fromPretrained(directory, { task: "CAUSAL_LM" });
  await expect(loading).rejects.toThrowError("lm_head.weight");
});

/** One layer of every family, which each reads its own keys. */
const SMALL = {
  vocab_size: 20,
  hidden_size: 8,
  n_embd: 8,
  num_hidden_layers: 1,
  n_layer: 1,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  head_dim: 4,
  n_head: 2,
  intermediate_size: 8,
  rotary_pct: 1,
  pad_token_id: 0,
};
/** DistilBERT refuses the names of others. */
const DISTILBERT = { vocab_size: 20, dim: 8, n_layers: 1, n_heads: 2, hidden_dim: 8 };

/** How often one layer of a model draws random numbers in training, as transformers' modules do, by task. */
const DECODER = { CAUSAL_LM: 1, SEQ_CLS: 1, TOKEN_CLS: 2, QUESTION_ANS: 1 };
const DROPOUTS: Readonly<Record<string, Partial<Record<TaskType, number>>>> = {
  gpt2: { CAUSAL_LM: 4, SEQ_CLS: 4, TOKEN_CLS: 5, QUESTION_ANS: 4 },
  bert: { SEQ_CLS: 5, TOKEN_CLS: 5, QUESTION_ANS: 4 },
  distilbert: { SEQ_CLS: 4, TOKEN_CLS: 4, QUESTION_ANS: 4 },
  roberta: { SEQ_CLS: 6, TOKEN_CLS: 5, QUESTION_ANS: 4 },
  "xlm-roberta": { SEQ_CLS: 6, TOKEN_CLS: 5, QUESTION_ANS: 4 },
  modernbert: { SEQ_CLS: 5, TOKEN_CLS: 5, QUESTION_ANS: 5 },
  llama: DECODER,
  mistral: DECODER,
  qwen2: DECODER,
  qwen3: DECODER,
  gemma2: { CAUSAL_LM: 1, SEQ_CLS: 1, TOKEN_CLS: 2 },
  gemma3_text: { CAUSAL_LM: 1, SEQ_CLS: 1 },
  gpt_neox: { CAUSAL_LM: 4, SEQ_CLS: 4, TOKEN_CLS: 5, QUESTION_ANS: 4 },
};

/** The number of places that draw random numbers in a model's training graph. */
async function countDropouts(directory: string, task: TaskType, dropout: number): Promise<number> {
  const { model } = await AutoModel.fromPretrained(directory, { task, dropout });
  const logits = (model.train() as typeof model).forward(modelInputs({ batch: 1, length: 3 }));
  // Two vectors of random numbers make a mask.
  return printGraph({ outputs: { logits } }).split("hashVector(").length / 2 - 0.5;
}

it.each(FAMILIES.map((family) => [family.modelType, family] as const))(
  "one probability reaches every dropout (%s)",
  async (modelType, { models }) => {
    const sizes = modelType === "distilbert" ? DISTILBERT : SMALL;
    const counts: Partial<Record<TaskType, number>> = {};
    for (const task of Object.keys(models) as TaskType[]) {
      const directory = await writeModel({ ...sizes, model_type: modelType }, modelType, task);
      expect(await countDropouts(directory, task, 0)).toBe(0);
      counts[task] = await countDropouts(directory, task, 0.3);
    }
    expect(counts).toEqual(DROPOUTS[modelType]);
  },
);

it.each(FAMILIES.map((family) => [family.modelType, family] as const))(
  "any configuration is a model or one of our errors (%s)",
  (modelType, { models, configSchema }) => {
    const sizes = modelType === "distilbert" ? DISTILBERT : SMALL;
    const defaults = configSchema.parse({ ...sizes, model_type: modelType }) as object;
    const odd = fc.constantFrom(0, -1, 0.5, 3, 1e6, 1e9, 2 ** 53, "gelu", "1", true, null, [], {});
    const key = fc.constantFrom(
      ...Object.keys(defaults).filter((name) => name !== "model_type"),
      "rope_scaling",
    );
    const changes = fc.dictionary(key, fc.oneof(odd, fc.jsonValue()), { maxKeys: 3 });
    let built = 0;
    fc.assert(
      fc.property(changes, fc.constantFrom(...(Object.keys(models) as TaskType[])), (own, task) => {
        try {
          const config = { ...sizes, ...own, model_type: modelType };
          const { model } = modelFromConfig(config, task);
          model.forward(modelInputs({ batch: 1, length: 3 }));
          built++;
        } catch (error) {
          if (!(error instanceof LowrankError)) throw error;
        }
      }),
      { numRuns: 300, seed: 7 },
    );
    expect(built).toBeGreaterThan(20);
  },
);

/** @file lowrank merge on tiny models: the written directory is the adapter's model without an adapter. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { run } from "../../src/cli/run.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { readTensor } from "../../src/io/safetensors.ts";
import { applyLora } from "../../src/lora/apply.ts";
import { loraConfig, type LoraOptions } from "../../src/lora/config.ts";
import { loadAdapterWeights, readAdapterConfig, saveAdapter } from "../../src/lora/peft-format.ts";
import { AutoModel, type PretrainedModel } from "../../src/models/auto.ts";
import type { TaskType } from "../../src/models/family.ts";
import { modelInputs } from "../../src/models/inputs.ts";
import { normal } from "../../src/nn/init.ts";
import { Engine } from "../../src/runtime/engine.ts";
import { evaluateModule, int32, largestDifference } from "../run-graph.ts";
import { writeTinyModel, type TinyModelOptions } from "../tiny-model.ts";
import { trainedTensors, writeTrainedModel } from "../tiny-trained.ts";

/** Float32 roundings of logits of order 1 to 10 in another order of operations. */
const ROUNDING = 2e-5;

const FEEDS = {
  input_ids: int32([2, 4], [5, 6, 7, 8, 9, 10, 11, 12]),
  attention_mask: int32([2, 4], [1, 1, 1, 1, 1, 1, 1, 1]),
};

let engine: Engine;
let root: string;
let place = 0;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
  root = mkdtempSync(join(tmpdir(), "merge-"));
});
afterAll(async () => {
  await engine.close();
  rmSync(root, { recursive: true, force: true });
});

async function logits({ model }: Pick<PretrainedModel, "model">): Promise<Float32Array> {
  const output = model.forward(modelInputs({ batch: 2, length: 4 }));
  const { y } = await evaluateModule(engine, model, { outputs: { y: output } }, FEEDS);
  return y as Float32Array;
}

/** A base model and an adapter away from its start, each in a directory; and the logits of the two together. */
async function fixture(
  model: TinyModelOptions,
  options: LoraOptions,
  change?: (path: string, values: Float32Array) => void,
) {
  const folder = join(root, String(place++));
  const [base, adapter, output] = ["base", "adapter", "merged"].map((name) =>
    join(folder, name),
  ) as [string, string, string];
  await writeTinyModel(base, model);
  writeFileSync(join(base, "generation_config.json"), '{"do_sample": false}');
  mkdirSync(adapter);
  const task = options.taskType ?? "SEQ_CLS";
  const config = { num_labels: 3 };
  const adapted = await AutoModel.fromPretrained(base, { task, config });
  const lora = loraConfig({ taskType: task, ...options });
  applyLora(adapted.model, lora, adapted.family);
  const parameters = adapted.model.namedParameters();
  await saveAdapter(adapter, adapted.model, {
    lora,
    baseModel: base,
    values: async (path) => {
      const { shape } = parameters.get(path)!;
      const values = await normal(0.3)({ name: path, shape, seed: 1 });
      change?.(path, values);
      return values;
    },
  });
  const read = await readAdapterConfig(adapter);
  await loadAdapterWeights(adapter, adapted.model, read.lora);
  return { base, adapter, output, task, expected: change ? undefined : await logits(adapted) };
}

async function lowrank(
  ...args: string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const texts = { stdout: "", stderr: "" };
  const spies = (["stdout", "stderr"] as const).map((stream) =>
    vi.spyOn(process[stream], "write").mockImplementation((text) => {
      texts[stream] += String(text);
      return true;
    }),
  );
  try {
    return { code: await run(args), ...texts };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

const json = (directory: string, name: string) =>
  JSON.parse(readFileSync(join(directory, name), "utf8")) as Record<string, unknown>;

async function mergedLogits(directory: string, task: TaskType): Promise<Float32Array> {
  const merged = await AutoModel.fromPretrained(directory, { task });
  expect(merged.newParameters).toEqual([]);
  return logits(merged);
}

const VARIANTS: Record<string, [TinyModelOptions, LoraOptions]> = {
  "a classifier": [{ family: "bert" }, { r: 2, targetModules: ["query", "value"] }],
  "DoRA, biases and a module": [
    { family: "bert" },
    { r: 3, useDora: true, targetModules: "all-linear", bias: "all", modulesToSave: ["pooler"] },
  ],
  "a language model": [
    { family: "gpt2", task: "CAUSAL_LM" },
    { r: 2, taskType: "CAUSAL_LM", targetModules: ["c_attn", "c_fc"], useRslora: true },
  ],
  PiSSA: [{ family: "gpt2" }, { r: 2, initLoraWeights: "pissa", targetModules: "all-linear" }],
};

describe("the merged model computes what the adapter computes", () => {
  for (const [name, [model, options]] of Object.entries(VARIANTS)) {
    test(name, async () => {
      const { base, adapter, output, task, expected } = await fixture(model, options);
      const { code, stderr } = await lowrank("merge", "--adapter", adapter, "--output", output);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(largestDifference(await mergedLogits(output, task), expected!)).toBeLessThan(ROUNDING);

      for (const file of ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]) {
        expect(readFileSync(join(output, file))).toEqual(readFileSync(join(base, file)));
      }
      // What the adapter leaves alone is taken over as it is.
      const [before, after] = [await openCheckpoint(base), await openCheckpoint(output)];
      const untouched = [...before.tensors].filter(([, { name: key }]) =>
        /(?:ln_f|LayerNorm|position_embeddings|wpe)\.weight$/.test(key),
      );
      expect(untouched.length).toBeGreaterThan(0);
      for (const [key, info] of untouched) {
        expect(await readTensor(after.tensors.get(key)!)).toEqual(await readTensor(info));
      }
    });
  }

  test("a tied embedding that is adapted is stored apart from the output head", async () => {
    const { adapter, output, task, expected } = await fixture(
      { family: "gpt2", task: "CAUSAL_LM" },
      { r: 2, taskType: "CAUSAL_LM", targetModules: ["wte"] },
    );
    const { stdout } = await lowrank("merge", "--adapter", adapter, "--output", output);
    expect(stdout).toContain(
      "lm_head.weight: the base shares it with the embedding, the adapter changes one of them",
    );
    expect(json(output, "config.json")).toMatchObject({ tie_word_embeddings: false });
    expect(largestDifference(await mergedLogits(output, task), expected!)).toBeLessThan(ROUNDING);
  });

  test("config.json has the labels, in transformers' form", async () => {
    const { adapter, output } = await fixture(...VARIANTS["a classifier"]!);
    await lowrank("merge", "--adapter", adapter, "--output", output);
    const config = json(output, "config.json");
    expect(config).toMatchObject({
      model_type: "bert",
      architectures: ["BertForSequenceClassification"],
      id2label: { 0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2" },
      label2id: { LABEL_0: 0, LABEL_1: 1, LABEL_2: 2 },
    });
    expect(config).not.toHaveProperty("num_labels");
  });

  test("an adapter from elsewhere decides the number of labels, whatever names and head the base has", async () => {
    const { base, adapter, output, task, expected } = await fixture(...VARIANTS["a classifier"]!);
    const id2label = { 0: "a", 1: "b", 2: "c", 3: "d", 4: "e" };
    const five = join(base, "..", "five");
    const tensors = await trainedTensors(base, { changes: () => false, config: { id2label } });
    writeFileSync(
      join(base, "config.json"),
      JSON.stringify({ ...json(base, "config.json"), id2label }),
    );
    await writeTrainedModel(five, base, tensors);
    for (const model of [base, five]) {
      const flags = ["--adapter", adapter, "--model", model];
      expect(await lowrank("inspect", ...flags)).toMatchObject({ code: 0, stderr: "" });
      const merging = await lowrank("merge", ...flags, "--output", output, "--overwrite");
      expect(merging).toMatchObject({ code: 0, stderr: "" });
      expect(json(output, "config.json")["id2label"]).toEqual({
        0: "LABEL_0",
        1: "LABEL_1",
        2: "LABEL_2",
      });
      expect(largestDifference(await mergedLogits(output, task), expected!)).toBeLessThan(ROUNDING);
    }
  });
});

describe("files", () => {
  test("shards with an index, in another data type", async () => {
    const { adapter, output, task, expected } = await fixture(...VARIANTS["a language model"]!);
    const flags = ["--max-shard-size", "0.01MB", "--dtype", "bf16", "--json"];
    const { stdout } = await lowrank("merge", "--adapter", adapter, "--output", output, ...flags);
    const { files, sizeBytes } = JSON.parse(stdout) as { files: string[]; sizeBytes: number };
    expect(files[0]).toBe(`model-00001-of-0000${files.length}.safetensors`);
    expect(files.length).toBeGreaterThan(1);
    const index = json(output, "model.safetensors.index.json");
    expect(index["metadata"]).toEqual({ total_size: sizeBytes });
    expect(new Set(Object.values(index["weight_map"] as object))).toEqual(new Set(files));
    const { tensors } = await openCheckpoint(output);
    expect([...tensors.values()].every(({ dtype }) => dtype === "BF16")).toBe(true);
    expect(json(output, "config.json")).toMatchObject({ dtype: "bfloat16" });
    // Eight bits of mantissa in every weight.
    expect(largestDifference(await mergedLogits(output, task), expected!)).toBeLessThan(0.3);
  });

  test("an output that exists is refused, or replaced as a whole", async () => {
    const { adapter, output } = await fixture(...VARIANTS["a classifier"]!);
    mkdirSync(output);
    writeFileSync(join(output, "mine.txt"), "");
    const args = ["merge", "--adapter", adapter, "--output", output];
    const { code, stderr } = await lowrank(...args);
    expect(code).toBe(1);
    expect(stderr).toContain(
      "got one that already exists with 1 entry. Choose another --output or pass --overwrite.",
    );
    expect(readdirSync(output)).toEqual(["mine.txt"]);
    expect((await lowrank(...args, "--overwrite")).code).toBe(0);
    expect(existsSync(join(output, "mine.txt"))).toBe(false);
    expect(existsSync(join(output, "model.safetensors"))).toBe(true);
  });

  test("neither the adapter nor its base is overwritten", async () => {
    const { base, adapter } = await fixture(...VARIANTS["a classifier"]!);
    for (const output of [base, adapter]) {
      const flags = ["--adapter", adapter, "--output", output, "--overwrite"];
      const { code, stderr } = await lowrank("merge", ...flags);
      expect(code).toBe(1);
      expect(stderr).toContain("refusing to overwrite a directory that the output is made from");
    }
    expect(existsSync(join(base, "model.safetensors"))).toBe(true);
    expect(existsSync(join(adapter, "adapter_model.safetensors"))).toBe(true);
  });

  test("--safe refuses what is not finite, and leaves nothing behind", async () => {
    const { adapter, output } = await fixture({ family: "bert" }, { r: 2 }, (path, values) => {
      if (path.endsWith("layer.1.attention.self.value.lora_B.weight")) values[3] = Infinity;
    });
    const { code, stderr } = await lowrank(
      "merge",
      "--adapter",
      adapter,
      "--output",
      output,
      "--safe",
    );
    expect(code).toBe(1);
    expect(stderr).toContain(
      "bert.encoder.layer.1.attention.self.value.weight: expected finite numbers after merging, got ",
    );
    expect(readdirSync(join(output, ".."))).toEqual(["adapter", "base"]);
    expect((await lowrank("merge", "--adapter", adapter, "--output", output)).code).toBe(0);
  });

  test("--safe refuses what float16 cannot hold", async () => {
    const { adapter, output } = await fixture({ family: "bert" }, { r: 2 }, (path, values) => {
      if (path === "classifier.weight") values[0] = 1e6;
    });
    const flags = ["--dtype", "f16", "--safe"];
    const { stderr } = await lowrank("merge", "--adapter", adapter, "--output", output, ...flags);
    expect(stderr).toContain("classifier.weight: element 0 is too large for F16.");
  });

  test("unknown options of the adapter's configuration are named", async () => {
    const { adapter, output } = await fixture(...VARIANTS["a classifier"]!);
    const config = json(adapter, "adapter_config.json");
    writeFileSync(
      join(adapter, "adapter_config.json"),
      JSON.stringify({ ...config, invented_option: 1 }),
    );
    const { code, stderr } = await lowrank("merge", "--adapter", adapter, "--output", output);
    expect(code).toBe(0);
    expect(stderr).toContain("adapter_config.json: ignored unknown option invented_option.");
  });
});

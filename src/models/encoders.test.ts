/** @file BERT and its relatives: printed trees, what their configurations may say, positions, checkpoints
 * saved for other tasks. Their numbers are those of the conformance fixtures. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluate, evaluateModule, int32 } from "../../test/run-graph.ts";
import { DYNAMIC_LENGTH } from "../graph/dynamic.ts";
import { input } from "../graph/leaves.ts";
import { printGraph } from "../graph/print.ts";
import { sizeOf } from "../graph/shape.ts";
import { writeSafetensors } from "../io/safetensors.ts";
import { Engine } from "../runtime/engine.ts";
import { AutoModel, modelFromConfig } from "./auto.ts";
import { positionsOfTokens } from "./positions.ts";
import type { TaskType } from "./family.ts";
import { modelInputs } from "./inputs.ts";

const SIZES = {
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  intermediate_size: 40,
  vocab_size: 50,
  max_position_embeddings: 40,
  pad_token_id: 1,
};

const CONFIGS = {
  bert: { model_type: "bert", ...SIZES },
  distilbert: {
    model_type: "distilbert",
    dim: 32,
    n_layers: 2,
    n_heads: 4,
    hidden_dim: 40,
    vocab_size: 50,
    max_position_embeddings: 40,
  },
  roberta: { model_type: "roberta", ...SIZES, type_vocab_size: 1 },
  "xlm-roberta": { model_type: "xlm-roberta", ...SIZES },
  modernbert: { model_type: "modernbert", ...SIZES, num_hidden_layers: 4, local_attention: 4 },
} as const;
type Name = keyof typeof CONFIGS;

const build = (name: Name, task: TaskType = "SEQ_CLS", config: object = {}) =>
  modelFromConfig({ ...CONFIGS[name], ...config }, task);

let engine: Engine;
let directory: string;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
  directory = mkdtempSync(join(tmpdir(), "encoders-"));
});
afterAll(async () => {
  await engine.close();
  rmSync(directory, { recursive: true, force: true });
});

describe("printed trees", () => {
  // As transformers 5.23 prints models of these configurations.
  test.each(["distilbert", "roberta", "xlm-roberta", "modernbert"] as const)("%s", (name) => {
    expect(String(build(name).model)).toMatchSnapshot();
  });

  test("heads of the other tasks", () => {
    const heads = (Object.keys(CONFIGS) as Name[]).flatMap((name) =>
      (["TOKEN_CLS", "QUESTION_ANS"] as const).map((task) => {
        const { model } = build(name, task, { num_labels: 5, qa_dropout: 0.3 });
        const parts = model.children().map(([part, child]) => `${part}: ${child.typeName()}`);
        return `${model.typeName()}: ${parts.join(", ")}`;
      }),
    );
    expect(heads).toMatchSnapshot();
  });
});

describe("configurations", () => {
  test.each<[Name, object, string]>([
    ["bert", { is_decoder: true }, "is_decoder: Invalid input: expected false"],
    ["bert", { position_embedding_type: "relative_key" }, "position_embedding_type: Invalid input"],
    ["roberta", { add_cross_attention: true }, "add_cross_attention: Invalid input"],
    ["roberta", { pad_token_id: null }, "pad_token_id: Invalid input: expected number"],
    ["roberta", { hidden_act: "quick_gelu" }, 'hidden_act: Invalid option: expected one of "gelu"'],
    ["distilbert", { activation: "mish" }, 'activation: Invalid option: expected one of "gelu"'],
    ["distilbert", { num_attention_heads: 4 }, "num_attention_heads: is n_heads here"],
    ["modernbert", { classifier_pooling: "max" }, "classifier_pooling: Invalid option"],
    ["modernbert", { rope_scaling: { rope_type: "yarn" } }, "rope_scaling: Invalid input"],
    [
      "modernbert",
      { rope_parameters: { full_attention: { rope_type: "yarn" } } },
      "rope_parameters.full_attention.rope_type: Invalid input",
    ],
    ["modernbert", { layer_types: ["full_attention"] }, "layer_types: expected 4 entries, got 1"],
  ])("%s with %j is refused", (name, config, message) => {
    expect(() => build(name, "SEQ_CLS", config)).toThrow(message);
  });

  test("heads divide the width", () => {
    const { model } = build("bert", "SEQ_CLS", { num_attention_heads: 3 });
    expect(() => model.forward(modelInputs({ batch: 1, length: 2 }))).toThrow(
      "attention: expected a width that its 3 heads divide, got 32.",
    );
  });

  test("RoBERTa's positions begin after padding's", () => {
    expect(build("roberta").limits).toEqual({ maxLength: 38, vocabSize: 50, padTokenId: 1 });
    expect(build("distilbert").limits.maxLength).toBe(40);
  });

  /** The graph of a model, as a text. */
  const graph = (name: Name, config: object = {}, tokenTypes = false): string => {
    const inputs = modelInputs({ batch: 2, length: 6 }, { tokenTypes });
    return printGraph({
      outputs: { logits: build(name, "SEQ_CLS", config).model.forward(inputs) },
    });
  };

  test("ModernBERT's kinds of layers, in both spellings", () => {
    const { model } = build("modernbert", "SEQ_CLS", { global_attn_every_n_layers: 2 });
    expect(
      model
        .getModule("model.layers")
        .children()
        .map(([, layer]) => "kind" in layer && layer.kind),
    ).toEqual(["full_attention", "sliding_attention", "full_attention", "sliding_attention"]);
    const kinds = {
      layer_types: Array.from({ length: 4 }, (_, i) =>
        i % 2 === 0 ? "full_attention" : "sliding_attention",
      ),
    };
    expect(graph("modernbert", kinds)).toBe(graph("modernbert", { global_attn_every_n_layers: 2 }));
    const older = { global_rope_theta: 5000, local_rope_theta: 300 };
    const newer = {
      rope_parameters: {
        full_attention: { rope_type: "default", rope_theta: 5000 },
        sliding_attention: { rope_type: "default", rope_theta: 300 },
      },
    };
    expect(graph("modernbert", older)).toBe(graph("modernbert", newer));
    expect(graph("modernbert", older)).not.toBe(graph("modernbert"));
    expect(graph("modernbert", { global_rope_theta: 5000, local_rope_theta: null })).toBe(
      graph("modernbert", { global_rope_theta: 5000, local_rope_theta: 5000 }),
    );
  });

  test("segment ids are read by models with segments only", () => {
    const reads = (name: Name): boolean => graph(name, {}, true).includes("%token_type_ids");
    expect((Object.keys(CONFIGS) as Name[]).filter(reads)).toEqual(["bert", "xlm-roberta"]);
  });
});

describe("RoBERTa", () => {
  test.each([
    ["static", 5],
    ["dynamic", DYNAMIC_LENGTH],
  ])("positions count real tokens: %s length", async (_, length) => {
    const ids = input("ids", "int32", [3, length]);
    const feeds = { ids: int32([3, 5], [7, 8, 9, 1, 1, 1, 1, 7, 8, 9, 7, 1, 8, 9, 7]) };
    const { place } = await evaluate(
      engine,
      { outputs: { place: positionsOfTokens(ids, 1) } },
      feeds,
    );
    expect([...(place as Int32Array)]).toEqual([2, 3, 4, 1, 1, 1, 1, 2, 3, 4, 2, 1, 3, 4, 5]);
  });

  test("the head's two dropouts take different random numbers", () => {
    const { model } = build("roberta", "SEQ_CLS", {
      hidden_dropout_prob: 0,
      attention_probs_dropout_prob: 0,
      classifier_dropout: 0.5,
    });
    model.train();
    const logits = model.forward(modelInputs({ batch: 2, length: 6 }));
    const places = printGraph({ outputs: { logits } }).matchAll(
      /int32\[\d+\] = mul\(%\d+, (-?\d+)\)/g,
    );
    expect(new Set([...places].map(([, place]) => place)).size).toBe(2);
  });
});

/** Write a model's parameters as a checkpoint, under other names (undefined: without it). */
async function save(
  name: string,
  config: object,
  task: TaskType,
  rename: (key: string) => string | undefined = (key) => key,
) {
  const folder = mkdtempSync(join(directory, `${name}-`));
  const { model } = modelFromConfig(config as Record<string, unknown>, task);
  const tensors = [...model.namedParameters()].flatMap(([key, { shape }], i) => {
    const stored = rename(key);
    const data = Float32Array.from({ length: sizeOf(shape) }, (_, j) => Math.sin(i + j / 7));
    return stored === undefined ? [] : [{ name: stored, dtype: "F32" as const, shape, data }];
  });
  await writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  return folder;
}

describe("checkpoints", () => {
  const feeds = {
    input_ids: int32([2, 4], [5, 6, 7, 8, 9, 10, 1, 1]),
    attention_mask: int32([2, 4], [1, 1, 1, 1, 1, 1, 0, 0]),
  };
  const logits = async (folder: string, task: TaskType) => {
    const { model, newParameters } = await AutoModel.fromPretrained(folder, { task });
    const graph = { outputs: { logits: model.forward(modelInputs({ batch: 2, length: 4 })) } };
    return {
      newParameters,
      values: (await evaluateModule(engine, model, graph, feeds))["logits"]!,
    };
  };

  test("BERT for spans, saved with the pooler and without: a classifier needs a new one", async () => {
    const without = await save("bert", CONFIGS.bert, "QUESTION_ANS");
    const pooled = await save("bert", CONFIGS.bert, "SEQ_CLS", (key) => key);
    const [a, b] = [await logits(without, "QUESTION_ANS"), await logits(pooled, "QUESTION_ANS")];
    expect(a.newParameters).toEqual([]);
    expect(b.newParameters).toEqual(["qa_outputs.weight", "qa_outputs.bias"]);
    expect((await logits(without, "SEQ_CLS")).newParameters).toEqual([
      "classifier.weight",
      "classifier.bias",
      "bert.pooler.dense.weight",
      "bert.pooler.dense.bias",
    ]);
  });

  test("DistilBERT's head for sequences is new as a whole, or in the part that is missing", async () => {
    const tagger = await save("distilbert", CONFIGS.distilbert, "TOKEN_CLS");
    expect((await logits(tagger, "SEQ_CLS")).newParameters).toEqual([
      "pre_classifier.weight",
      "pre_classifier.bias",
    ]);
  });

  test("ModernBERT of the masked language model: its head is taken over", async () => {
    const folder = await save("modernbert", CONFIGS.modernbert, "SEQ_CLS", (key) =>
      key.replace(/^classifier/, "decoder"),
    );
    const { newParameters } = await logits(folder, "TOKEN_CLS");
    expect(newParameters).toEqual(["classifier.weight", "classifier.bias"]);
    const bare = await save("modernbert", CONFIGS.modernbert, "SEQ_CLS", (key) =>
      key.startsWith("model.") ? key.slice("model.".length) : undefined,
    );
    expect((await logits(bare, "SEQ_CLS")).newParameters).toEqual([
      "head.dense.weight",
      "head.norm.weight",
      "classifier.weight",
      "classifier.bias",
    ]);
  });

  test("a head for another number of labels is named", async () => {
    const folder = await save("roberta", { ...CONFIGS.roberta, num_labels: 3 }, "SEQ_CLS");
    await expect(
      AutoModel.fromPretrained(folder, { task: "SEQ_CLS", config: { num_labels: 5 } }),
    ).rejects.toThrow("classifier.out_proj.weight");
  });
});

/** @file LLaMA and its descendants, and GPT-NeoX: printed trees, what their configurations may say, windows,
 * dropout. Their numbers are those of the conformance fixtures. */
import { describe, expect, test } from "vitest";
import { DYNAMIC_LENGTH } from "../graph/dynamic.ts";
import { topologicalOrder } from "../graph/graph.ts";
import { scalarValue } from "../graph/leaves.ts";
import { printGraph } from "../graph/print.ts";
import { bindParameters } from "../nn/bind.ts";
import { mulOp } from "../ops/elementwise.ts";
import { matmulOp } from "../ops/matmul.ts";
import { deadRows } from "../passes/dead-rows.ts";
import { optimize } from "../passes/optimize.ts";
import { modelFromConfig } from "./auto.ts";
import type { TaskType } from "./family.ts";
import { modelInputs } from "./inputs.ts";

const SIZES = {
  vocab_size: 50,
  hidden_size: 32,
  intermediate_size: 40,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  max_position_embeddings: 64,
  pad_token_id: 0,
};
const GROUPED = { ...SIZES, num_key_value_heads: 2 };

const CONFIGS = {
  llama: { model_type: "llama", ...GROUPED },
  mistral: { model_type: "mistral", ...GROUPED },
  qwen2: { model_type: "qwen2", ...GROUPED },
  qwen3: { model_type: "qwen3", ...GROUPED, head_dim: 8 },
  gemma2: { model_type: "gemma2", ...GROUPED, head_dim: 8 },
  gemma3_text: { model_type: "gemma3_text", ...GROUPED, head_dim: 8 },
  gpt_neox: { model_type: "gpt_neox", ...SIZES },
} as const;
type Name = keyof typeof CONFIGS;
const NAMES = Object.keys(CONFIGS) as Name[];

const build = (name: Name, config: object = {}, task: TaskType = "SEQ_CLS") =>
  modelFromConfig({ ...CONFIGS[name], ...config }, task);

/** What a model computes, as text. */
function computation(name: Name, config: object = {}, task: TaskType = "SEQ_CLS"): string {
  const { model } = build(name, config, task);
  const logits = model.forward(modelInputs({ batch: 2, length: DYNAMIC_LENGTH }));
  return printGraph(optimize(bindParameters({ outputs: { logits } }, model)));
}

describe("printed trees", () => {
  // As transformers 5.23 prints models of these configurations.
  test.each<[Name, TaskType]>([
    ["llama", "CAUSAL_LM"],
    ["mistral", "TOKEN_CLS"],
    ["qwen2", "SEQ_CLS"],
    ["qwen3", "QUESTION_ANS"],
    ["gemma2", "TOKEN_CLS"],
    ["gemma3_text", "SEQ_CLS"],
    ["gpt_neox", "TOKEN_CLS"],
  ])("%s, %s", (name, task) => {
    expect(String(build(name, {}, task).model)).toMatchSnapshot();
  });

  test("the models of each family", () => {
    const tasks = Object.fromEntries(
      NAMES.map((name) => [name, Object.keys(build(name).family.models).join(" ")]),
    );
    const all = "CAUSAL_LM SEQ_CLS TOKEN_CLS QUESTION_ANS";
    expect(tasks).toEqual({
      ...Object.fromEntries(NAMES.map((name) => [name, all])),
      gemma2: "CAUSAL_LM SEQ_CLS TOKEN_CLS",
      gemma3_text: "CAUSAL_LM SEQ_CLS",
    });
    const stacks = NAMES.slice(0, 4).map(
      (name) => build(name, {}, "QUESTION_ANS").model.children()[0]![0],
    );
    expect(stacks).toEqual(["transformer", "model", "transformer", "transformer"]);
  });
});

describe("the same model in two spellings", () => {
  const llama3 = {
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 32,
  };
  test.each<[string, Name, object, object]>([
    [
      "a base",
      "llama",
      { rope_theta: 5e5 },
      { rope_parameters: { rope_type: "default", rope_theta: 5e5 } },
    ],
    [
      "Llama 3's stretching",
      "llama",
      { rope_theta: 5e5, rope_scaling: { rope_type: "llama3", ...llama3 } },
      { rope_parameters: { rope_type: "llama3", rope_theta: 5e5, ...llama3 } },
    ],
    [
      "linear stretching, by the older name of its type",
      "mistral",
      { rope_scaling: { type: "linear", factor: 2 } },
      { rope_parameters: { rope_type: "linear", factor: 2, rope_theta: 10_000 } },
    ],
    [
      "a part of each head",
      "gpt_neox",
      { rotary_pct: 0.5, rotary_emb_base: 100 },
      {
        rope_parameters: { rope_type: "default", rope_theta: 100, partial_rotary_factor: 0.5 },
      },
    ],
    [
      "bases for two kinds of layers, and which those are",
      "gemma3_text",
      { rope_theta: 1000, rope_local_base_freq: 100, sliding_window_pattern: 3, sliding_window: 4 },
      {
        rope_parameters: {
          full_attention: { rope_type: "default", rope_theta: 1000 },
          sliding_attention: { rope_type: "default", rope_theta: 100 },
        },
        layer_types: ["sliding_attention", "sliding_attention", "full_attention"],
        sliding_window: 4,
      },
    ],
    [
      "windows in the upper layers",
      "qwen2",
      { use_sliding_window: true, sliding_window: 4, max_window_layers: 1 },
      {
        use_sliding_window: true,
        sliding_window: 4,
        layer_types: ["full_attention", "sliding_attention", "sliding_attention"],
      },
    ],
    ["a window that is switched off", "qwen3", { sliding_window: 4 }, { sliding_window: null }],
    ["the width of a head", "llama", {}, { head_dim: 8 }],
  ])("%s", (_, name, older, newer) => {
    expect(computation(name, newer)).toBe(computation(name, older));
  });

  test("what the settings say is computed", () => {
    const plain = computation("llama");
    const changed = [
      { rope_theta: 5e5 },
      { rope_scaling: { type: "linear", factor: 2 } },
      { head_dim: 6 },
      { attention_bias: true },
      { mlp_bias: true },
      { hidden_act: "gelu" },
      { rms_norm_eps: 1e-5 },
      { num_key_value_heads: null },
    ];
    for (const change of changed) expect(computation("llama", change)).not.toBe(plain);
    expect(computation("llama", { dtype: "bfloat16" })).toBe(plain);
  });
});

describe("what is not implemented is refused", () => {
  test.each<[Name, object, string]>([
    ["llama", { rope_scaling: { rope_type: "yarn", factor: 4 } }, "rope_scaling.rope_type: "],
    ["llama", { rope_parameters: { rope_type: "longrope" } }, "rope_parameters.rope_type: "],
    ["llama", { rope_scaling: { rope_type: "linear" } }, "rope_scaling.factor: "],
    ["llama", { rope_scaling: { type: "linear", factor: 2, mrope_section: [1] } }, "mrope_section"],
    ["llama", { partial_rotary_factor: 0.5 }, "partial_rotary_factor: "],
    ["llama", { hidden_act: "quick_gelu" }, "hidden_act: "],
    [
      "llama",
      { num_key_value_heads: 3 },
      "num_key_value_heads: expected a divisor of the 4 heads, got 3",
    ],
    [
      "llama",
      { hidden_size: 36 },
      "head_dim: expected an even width, whose features are rotated in pairs, got 9",
    ],
    [
      "mistral",
      { layer_types: ["full_attention"] },
      "layer_types: layers of different kinds are not implemented for mistral",
    ],
    ["qwen2", { layer_types: ["chunked_attention"] }, "layer_types.0: "],
    [
      "qwen2",
      { layer_types: ["full_attention"] },
      "layer_types: expected an entry for each of the 3 layers, got 1",
    ],
    [
      "qwen3",
      { layer_types: Array.from({ length: 3 }, () => "sliding_attention") },
      "sliding_window: expected a number, since some layers have sliding attention",
    ],
    ["gemma2", { use_bidirectional_attention: true }, "use_bidirectional_attention: "],
    ["gemma3_text", { attn_logit_softcapping: 50 }, "attn_logit_softcapping: "],
    ["gemma3_text", { rope_parameters: { rope_type: "default" } }, "rope_parameters: Unrecognized"],
    ["gpt_neox", { num_attention_heads: 5 }, "expected a divisor of the width 32, got 5"],
    ["gpt_neox", { rotary_pct: 0.4 }, "rotary_pct: expected a share that makes pairs of the 8"],
  ])("%s %o", (name, config, message) => {
    expect(() => build(name, config)).toThrow(message);
    expect(() => build(name, config)).toThrow(
      `not a configuration for ${name} that is implemented here`,
    );
  });

  test("all problems at once", () => {
    const config = { rope_scaling: { rope_type: "yarn" }, hidden_act: "mish", mlp_bias: 3 };
    expect(() => build("llama", config)).toThrow(
      /rope_scaling\.rope_type[^]*hidden_act[^]*mlp_bias/,
    );
  });
});

test.each(NAMES)("%s: of the last layer only keys and values see all positions", (name) => {
  const { model } = build(name, { num_hidden_layers: 1 });
  const logits = model.forward(modelInputs({ batch: 2, length: 7 }));
  const products = topologicalOrder(Object.values(deadRows({ outputs: { logits } }).outputs));
  const rows = products.flatMap(({ op, outputs: [y] }) =>
    op === matmulOp && y!.shape.length > 2 ? [y!.shape.at(-2)!] : [],
  );
  const whole = rows.filter((count) => count === 7).length;
  expect(whole).toBe(name === "gpt_neox" ? 1 : 2);
  expect(rows.filter((count) => count === 1).length).toBe(rows.length - whole);
});

test.each(NAMES)("%s: probabilities are dropped while training, in each layer others", (name) => {
  const { model } = build(name, { attention_dropout: 0.1 });
  const places = (): unknown[] => {
    const logits = model.forward(modelInputs({ batch: 2, length: 7 }));
    // The only integers that are multiplied by constants: those that random bits are made of.
    return topologicalOrder([logits]).flatMap(({ op, inputs: [random, place] }) =>
      op === mulOp && random!.dtype === "int32" ? (scalarValue(place!) ?? []) : [],
    );
  };
  expect(places()).toEqual([]);
  model.train();
  expect(new Set(places()).size).toBe(3);
});

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluateModule, int32 } from "../../test/run-graph.ts";
import { modelFromConfig } from "../models/auto.ts";
import { modelInputs } from "../models/inputs.ts";
import { loadParameters } from "../nn/bind.ts";
import { argmax } from "../ops/indexing.ts";
import { Engine } from "../runtime/engine.ts";
import { generate } from "./greedy.ts";

const { model, limits } = modelFromConfig(
  {
    model_type: "llama",
    vocab_size: 40,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 32,
    pad_token_id: 0,
  },
  "CAUSAL_LM",
);
const PROMPTS = [Int32Array.of(3, 1, 4, 1, 5), Int32Array.of(9), Int32Array.of(2, 6)];

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
  await loadParameters(engine, model, { seed: 1 });
});
afterAll(() => engine.close());

const SMALL = {
  vocab_size: 40,
  hidden_size: 16,
  intermediate_size: 24,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  pad_token_id: 0,
};
/** Every way in which a decoder attends. */
const CONFIGS = {
  "grouped heads": { model_type: "llama", num_hidden_layers: 2, ...SMALL },
  "a sliding window": { model_type: "mistral", num_hidden_layers: 2, sliding_window: 4, ...SMALL },
  "windows and whole in turns": {
    model_type: "gemma2",
    num_hidden_layers: 3,
    sliding_window: 3,
    query_pre_attn_scalar: 4,
    ...SMALL,
  },
  "learned positions": { model_type: "gpt2", vocab_size: 40, n_embd: 16, n_layer: 2, n_head: 4 },
  "a part of each head rotated": {
    model_type: "gpt_neox",
    num_hidden_layers: 2,
    rotary_pct: 0.5,
    ...SMALL,
  },
} as const;

test.each(Object.entries(CONFIGS))(
  "each token is the most likely one after those before it: %s",
  async (_, config) => {
    const own = modelFromConfig(config, "CAUSAL_LM");
    const separate = await Engine.start({ threads: 1 });
    await loadParameters(separate, own.model, { seed: 1 });
    const [continued] = await generate(separate, own, { prompts: [PROMPTS[0]!], maxNewTokens: 9 });
    const all = [...PROMPTS[0]!, ...continued!];
    const shape = { batch: 1, length: all.length };
    const graph = { outputs: { next: argmax(own.model.forward(modelInputs(shape))) } };
    const { next } = await evaluateModule(separate, own.model, graph, {
      input_ids: int32([1, all.length], all),
      attention_mask: int32(
        [1, all.length],
        all.map(() => 1),
      ),
    });
    await separate.close();
    expect([...continued!]).toEqual([...(next as Int32Array)].slice(4, -1));
    expect(continued).toHaveLength(9);
  },
);

test("no token is asked for, one is, or the model keeps no keys", async () => {
  const prompts = [PROMPTS[0]!];
  const more = await generate(engine, { model, limits }, { prompts, maxNewTokens: 3 });
  const one = await generate(engine, { model, limits }, { prompts, maxNewTokens: 1 });
  expect(one[0]).toEqual(more[0]!.slice(0, 1));
  const none = await generate(engine, { model, limits }, { prompts, maxNewTokens: 0 });
  expect(none).toEqual([new Int32Array(0)]);
  const encoder = modelFromConfig(
    { model_type: "bert", ...SMALL, num_hidden_layers: 1 },
    "TOKEN_CLS",
  );
  await expect(generate(engine, encoder, { prompts, maxNewTokens: 1 })).rejects.toThrow(
    "generate: BertForTokenClassification does not hand its keys and values to `cache`",
  );
});

test("the model is for another task, or there is no number of tokens", async () => {
  const sizes = { model_type: "llama", num_hidden_layers: 1, ...SMALL };
  const classifier = modelFromConfig(sizes, "SEQ_CLS");
  await expect(
    generate(engine, classifier, { prompts: PROMPTS, maxNewTokens: 2 }),
  ).rejects.toMatchObject({
    code: "usage",
    message:
      'generate: LlamaForSequenceClassification does not predict a next token. Load the model with task "CAUSAL_LM".',
  });
  const options = { prompts: PROMPTS } as never;
  await expect(generate(engine, { model, limits }, options)).rejects.toThrow(
    "generate: expected prompts, a list with the token ids of each, and maxNewTokens, a whole number.",
  );
});

test("prompts of different lengths together give what each gives alone", async () => {
  const options = { maxNewTokens: 7 };
  const alone = [];
  for (const prompt of PROMPTS)
    alone.push(...(await generate(engine, { model, limits }, { prompts: [prompt], ...options })));
  const together = await generate(engine, { model, limits }, { prompts: PROMPTS, ...options });
  expect(together).toEqual(alone);
});

test("a text ends with an ending token; the others go on", async () => {
  const options = { prompts: PROMPTS, maxNewTokens: 7 };
  const whole = await generate(engine, { model, limits }, options);
  const eos = whole[0]![2]!;
  const heard: [number, number][] = [];
  const ended = await generate(
    engine,
    { model, limits },
    {
      ...options,
      eosTokenIds: [39, eos],
      onToken: (token, prompt) => heard.push([token, prompt]),
    },
  );
  const cut = (tokens: Int32Array): Int32Array => {
    const end = tokens.findIndex((token) => token === eos || token === 39);
    return end === -1 ? tokens : tokens.slice(0, end + 1);
  };
  expect(ended).toEqual(whole.map(cut));
  expect(ended[0]!.length).toBeLessThan(7);
  expect(heard.filter(([, prompt]) => prompt === 1).map(([token]) => token)).toEqual([
    ...ended[1]!,
  ]);
});

const attempt = (prompts: Int32Array[], maxNewTokens = 3): Promise<Int32Array[]> =>
  generate(engine, { model, limits }, { prompts, maxNewTokens });

describe("prompts that cannot be continued", () => {
  test("all are named", async () => {
    const prompts = [new Int32Array(0), Int32Array.of(1, 40), new Int32Array(30).fill(1)];
    await expect(attempt(prompts)).rejects.toThrow(
      "generate: cannot continue these prompts:\n" +
        "  prompt 0 has no token\n" +
        "  prompt 1 has token 40, expected less than 40\n" +
        "  prompt 2 and its continuation have 33 tokens, the model takes 32\n" +
        "Shorten them, or ask for fewer tokens.",
    );
  });

  test("none at all", async () => {
    await expect(attempt([])).rejects.toThrow("there is no prompt");
  });

  test("no new token is none", async () => {
    expect(await attempt([Int32Array.of(1)], 0)).toEqual([new Int32Array(0)]);
  });
});

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

/** The engine as one on a device that compiles each length by itself. */
const withStaticLengths = (dynamic: Engine): Engine =>
  new Proxy(dynamic, {
    get(target, key) {
      if (key === "lengthMultiple") return 4;
      if (key === "graphLength") return (length: number) => length;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });

test("each token is the most likely one after those before it", async () => {
  const [continued] = await generate(
    engine,
    { model, limits },
    {
      prompts: [PROMPTS[0]!],
      maxNewTokens: 6,
    },
  );
  const all = [...PROMPTS[0]!, ...continued!];
  const shape = { batch: 1, length: all.length };
  const graph = { outputs: { next: argmax(model.forward(modelInputs(shape))) } };
  const { next } = await evaluateModule(engine, model, graph, {
    input_ids: int32([1, all.length], all),
    attention_mask: int32(
      [1, all.length],
      all.map(() => 1),
    ),
  });
  expect([...continued!]).toEqual([...(next as Int32Array)].slice(4, -1));
  expect(continued).toHaveLength(6);
});

test("prompts of different lengths together give what each gives alone, with any program", async () => {
  const options = { maxNewTokens: 7 };
  const alone = [];
  for (const prompt of PROMPTS)
    alone.push(...(await generate(engine, { model, limits }, { prompts: [prompt], ...options })));
  const together = await generate(engine, { model, limits }, { prompts: PROMPTS, ...options });
  expect(together).toEqual(alone);
  const fixed = withStaticLengths(engine);
  expect(await generate(fixed, { model, limits }, { prompts: PROMPTS, ...options })).toEqual(alone);
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

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evaluateModule, int32 } from "../../../test/run-graph.ts";
import { modelFromConfig } from "../../models/auto.ts";
import { modelInputs } from "../../models/inputs.ts";
import { Engine } from "../../runtime/engine.ts";
import { objectiveOf } from "../objectives.ts";
import { countParts, rowLosses } from "./loss.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

const config = (vocabSize: number) => ({
  model_type: "gpt2",
  vocab_size: vocabSize,
  n_positions: 8,
  n_embd: 4,
  n_layer: 1,
  n_head: 1,
});

const feeds = {
  input_ids: int32([3, 4], [1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 0]),
  attention_mask: int32([3, 4], [1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0]),
  labels: int32([3, 4], [1, 2, 3, 4, -100, -100, -100, -100, -100, -100, 9, -100]),
};

describe("rowLosses", () => {
  // With the larger vocabulary each row is a part of its own.
  it.each([20, 100_000])(
    "sums up to the loss of transformers, vocabulary of %i",
    async (vocabSize) => {
      const { model } = modelFromConfig(config(vocabSize), "CAUSAL_LM");
      model.eval();
      const shape = { batch: 3, length: engine.graphLength(4) };
      const { outputs, lossSum } = objectiveOf("CAUSAL_LM").build(
        model.forward(modelInputs(shape)),
      );
      const graph = { outputs: { ...outputs, lossSum, rows: rowLosses(model, shape) } };
      const { rows, lossSum: whole, logits } = await evaluateModule(engine, model, graph, feeds);

      const values = logits as Float32Array;
      const nll = (row: number, position: number, label: number): number => {
        const start = (row * 4 + position) * vocabSize;
        const own = values.subarray(start, start + vocabSize);
        let total = 0;
        for (const value of own) total += Math.exp(value);
        return Math.log(total) - own[label]!;
      };
      const expected = [nll(0, 0, 2) + nll(0, 1, 3) + nll(0, 2, 4), 0, nll(2, 1, 9)];
      for (const [row, value] of expected.entries()) expect(rows![row]).toBeCloseTo(value, 3);
      expect(rows![1]).toBe(0);
      expect(whole![0]).toBeCloseTo(expected[0]! + expected[2]!, 3);
    },
  );

  it("refuses a model without a vocabulary", () => {
    const { model } = modelFromConfig(config(20), "SEQ_CLS");
    expect(() => rowLosses(model, { batch: 1, length: 4 })).toThrow(
      "GPT2ForSequenceClassification: expected a language model.",
    );
  });
});

describe("countParts", () => {
  it("takes as few equal parts as keep each small, at most one for each row", () => {
    expect(countParts(8, 2 ** 20)).toBe(1);
    expect(countParts(8, 2 ** 25)).toBe(2);
    expect(countParts(8, 2 ** 27)).toBe(8);
    expect(countParts(8, 2 ** 30)).toBe(8);
    expect(countParts(6, 2 ** 26)).toBe(3);
    expect(countParts(1, 2 ** 30)).toBe(1);
  });
});

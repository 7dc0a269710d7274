/** @file Token classification from training to predictions, on tiny models. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WORDS, writeTinyModel } from "../../test/tiny-model.ts";
import { randomGenerator } from "../random.ts";
import type { EntityPrediction } from "../tasks/token-classification.ts";
import { Predictor } from "./predict.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";

let root: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "entities-"));
  for (const family of ["bert", "gpt2"] as const) {
    await writeTinyModel(join(root, family), { family });
  }
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Row extends Record<string, unknown> {
  tokens: string[];
  tags: string[];
}

/** The type of a word: good, bad or none. */
function typeOf(word: string): string | undefined {
  const place = WORDS.indexOf(word);
  return place < 5 ? "good" : place < 10 ? "bad" : undefined;
}

/** Good words are entities of one type, bad ones of another, the rest is outside. */
function sentences(count: number, words: number): Row[] {
  const random = randomGenerator(3, "entities");
  return Array.from({ length: count }, () => {
    const tokens = Array.from({ length: words }, () => WORDS[random.int(WORDS.length)]!);
    const tags = tokens.map((word, i) => {
      const type = typeOf(word);
      if (type === undefined) return "O";
      return `${i > 0 && typeOf(tokens[i - 1]!) === type ? "I" : "B"}-${type}`;
    });
    return { tokens, tags };
  });
}

const options = (family: string, data: Row[], more: Partial<TrainerOptions>): TrainerOptions => ({
  model: join(root, family),
  task: "ner",
  data,
  validationSplit: 0,
  r: 4,
  threads: 1,
  learningRate: 0.01,
  schedule: "constant",
  ...more,
});

/** Entities without their scores. */
const shape = ({ entities }: EntityPrediction) =>
  entities.map(({ text, type, start, end }) => ({ text, type, start, end }));

describe("token classification", () => {
  it.each([
    ["bert", "bio"],
    ["bert", "iobes"],
    ["gpt2", "bio"],
  ] as const)("overfits one batch of windows (%s, %s)", async (family, tagScheme) => {
    const rows = sentences(4, 30);
    const more = { maxLength: 18, stride: 4, steps: 400, batchSize: 16, tagScheme };
    const trainer = await Trainer.create(options(family, rows, more));
    let [loss, examples] = [0, 0];
    trainer.on((event) => {
      if (event.type === "started") examples = event.trainExamples;
      if (event.type === "step") loss = event.loss;
    });
    await trainer.train();
    expect(examples).toBeGreaterThanOrEqual(8);
    expect(loss).toBeLessThan(0.05);
    const { scalars } = await trainer.evaluate(rows);
    expect(scalars).toMatchObject({ f1: 1, precision: 1, recall: 1, accuracy: 1, strictF1: 1 });

    const [first] = await trainer.predict<EntityPrediction>([{ text: rows[0]!.tokens.join(" ") }]);
    const bare = rows[0]!.tags.filter((tag) => tag.startsWith("B-"));
    expect(first!.entities.map(({ type }) => `B-${type}`)).toEqual(bare);
    await trainer.close();
  });

  it("predicts the same from a saved adapter, in other batches, for texts and for tokens", async () => {
    const rows = sentences(24, 12);
    const output = join(root, "out");
    const trainer = await Trainer.create(
      options("bert", rows, { output, epochs: 4, validationSplit: 0.2, classWeights: "balanced" }),
    );
    await trainer.train();
    const inputs = rows.map(({ tokens }) => ({ text: tokens.join(" ") }));
    const before = await trainer.predict<EntityPrediction>(inputs);
    await trainer.close();

    const predictor = await Predictor.load<EntityPrediction>(output, {
      batchSize: 3,
      threads: 1,
      stride: 2,
    });
    const after = await predictor.predict(inputs);
    expect(after.map(shape)).toEqual(before.map(shape));
    for (const [i, { entities }] of after.entries()) {
      for (const [k, { score, text, start, end }] of entities.entries()) {
        expect(score).toBeCloseTo(before[i]!.entities[k]!.score, 5);
        expect(inputs[i]!.text.slice(start, end)).toBe(text);
      }
    }
    const tokens = await predictor.predict(rows.map((row) => ({ tokens: row.tokens })));
    expect(tokens.map(shape)).toEqual(after.map(shape));
    expect(tokens[0]!.tags).toHaveLength(12);
    await predictor.close();
  });

  it("has no loss where no token has a label", async () => {
    const rows = sentences(4, 6);
    const trainer = await Trainer.create(options("bert", rows, { steps: 2, batchSize: 4 }));
    await trainer.train();
    // White space makes no token: all labels of the batch are ignored.
    const { scalars } = await trainer.evaluate([{ tokens: ["", " "], tags: ["B-good", "O"] }]);
    expect(scalars).toEqual({
      loss: 0,
      f1: 0,
      precision: 0,
      recall: 0,
      accuracy: 0.5,
      strictF1: 0,
    });
    await trainer.close();
  });
});

/** @file Question answering from training to predictions, on tiny models. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WORDS, writeTinyModel } from "../../test/tiny-model.ts";
import { randomGenerator } from "../random.ts";
import type { AnswerPrediction } from "../tasks/question-answering.ts";
import { Predictor } from "./predict.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";

let root: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "questions-"));
  for (const family of ["bert", "gpt2"] as const) {
    await writeTinyModel(join(root, family), { family });
  }
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Not an interface: those have no index signature. */
type Row = {
  id: string;
  question: string;
  context: string;
  answers: { text: string; answer_start: number }[];
};

/** Contexts with a good or a bad word, asked for the good one: every other question has no answer. */
function questions(count: number, words: number): Row[] {
  const random = randomGenerator(3, "questions");
  const pick = (from: readonly string[]): string => from[random.int(from.length)]!;
  return Array.from({ length: count }, (_, i) => {
    const context = Array.from({ length: words }, () => pick(WORDS.slice(10)));
    const at = random.int(words);
    context[at] = pick(i % 2 === 0 ? WORDS.slice(0, 5) : WORDS.slice(5, 10));
    const start = context.slice(0, at).join(" ").length + (at === 0 ? 0 : 1);
    const answers = i % 2 === 0 ? [{ text: context[at], answer_start: start }] : [];
    return { id: String(i), question: "and it is", context: context.join(" "), answers };
  });
}

const options = (family: string, data: Row[], more: Partial<TrainerOptions>): TrainerOptions => ({
  model: join(root, family),
  task: "qa",
  data: data,
  validationSplit: 0,
  r: 4,
  threads: 1,
  learningRate: 0.01,
  schedule: "constant",
  ...more,
});

describe("question answering", () => {
  it.each(["bert", "gpt2"])("overfits one batch of windows (%s)", async (family) => {
    // 40 words are four windows of 16 tokens.
    const rows = questions(4, 40);
    const trainer = await Trainer.create(
      options(family, rows, {
        maxLength: 20,
        stride: 4,
        steps: 400,
        batchSize: 16,
        learningRate: 0.003,
      }),
    );
    let [loss, first] = [0, 0];
    trainer.on((event) => {
      if (event.type === "started") first = event.trainExamples;
      if (event.type === "step") loss = event.loss;
    });
    await trainer.train();
    expect(first).toBeGreaterThan(8);
    expect(loss).toBeLessThan(0.05);
    const { scalars, details } = await trainer.evaluate(rows);
    expect(scalars).toMatchObject({ exactMatch: 1, f1: 1 });
    expect(details["noAnswer"]).toMatchObject({ questions: 2, f1: 1 });
    const answers = await trainer.predict<AnswerPrediction>([...rows]);
    for (const [i, { answer, start, end, noAnswer }] of answers.entries()) {
      const gold = rows[i]!.answers[0];
      expect(answer).toBe(gold?.text ?? "");
      expect(noAnswer).toBe(!gold);
      if (gold) expect([start, end]).toEqual([gold.answer_start, start + answer.length]);
    }
    await trainer.close();
  });

  it("predicts the same from a saved adapter, in other batches, and with other settings", async () => {
    const rows = questions(24, 12);
    const output = join(root, "out");
    const trainer = await Trainer.create(
      options("bert", rows, { output, epochs: 4, validationSplit: 0.2 }),
    );
    const warnings: string[] = [];
    trainer.on((event) => {
      if (event.type === "warning") warnings.push(event.message);
    });
    await trainer.train();
    const inputs = rows.map(({ question, context }) => ({ question, context }));
    const before = await trainer.predict<AnswerPrediction>(inputs);
    await trainer.close();
    expect(warnings).toEqual([]);

    const predictor = await Predictor.load<AnswerPrediction>(output, { batchSize: 3, threads: 1 });
    const after = await predictor.predict(inputs);
    for (const [i, { answer, score, start }] of after.entries()) {
      expect({ answer, start }).toEqual({ answer: before[i]!.answer, start: before[i]!.start });
      expect(score).toBeCloseTo(before[i]!.score, 5);
    }
    // A long text beside a short one: the short one is padded and still has the same answer.
    const long = { question: "and it is", context: `${inputs[1]!.context} ${inputs[3]!.context}` };
    const [alone] = await predictor.predict([inputs[0]!]);
    const [beside] = await predictor.predict([inputs[0]!, long]);
    expect(beside!.answer).toBe(alone!.answer);
    expect(beside!.score).toBeCloseTo(alone!.score, 5);
    await predictor.close();

    const eager = await Predictor.load<AnswerPrediction>(output, {
      nullThreshold: 1e6,
      nBest: 3,
      threads: 1,
    });
    const [answer] = await eager.predict([inputs[1]!]);
    expect(answer!.noAnswer).toBe(false);
    expect(answer!.nBest).toHaveLength(3);
    await eager.close();
  });

  it("refuses settings and columns that an adapter's task does not have", async () => {
    const output = join(root, "classifier");
    const data = ["good film", "bad film", "great film", "awful film"].map((text, i) => ({
      text,
      label: i % 2,
    }));
    const trainer = await Trainer.create({
      model: join(root, "bert"),
      data,
      output,
      steps: 1,
      threads: 1,
    });
    await trainer.train();
    await trainer.close();
    await expect(Predictor.load(output, { nBest: 3 })).rejects.toThrow(
      "nBest: the adapter's task, sequence-classification, has no such setting as it was trained (it has: none). Leave it out.",
    );
    const predictor = await Predictor.load(output, { threads: 1 });
    const columns = { textColumn: "text", questionColumn: "text" };
    const problem =
      "questionColumn: goes with task question-answering, not with sequence-classification; leave it out.";
    await expect(predictor.evaluate(data, columns)).rejects.toThrow(problem);
    await expect(predictor.readInputs(data, columns)).rejects.toThrow(problem);
    await predictor.close();
  });
});

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { failure } from "../../test/failure.ts";
import { sentimentRows, writeTinyModel } from "../../test/tiny-model.ts";
import type { TrainingEvent } from "./events.ts";
import { Predictor } from "./predict.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";

let root: string;
let bert: string;
let gpt2: string;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "trainer-"));
  bert = await writeTinyModel(join(root, "bert"), { family: "bert" });
  gpt2 = await writeTinyModel(join(root, "gpt2"), { family: "gpt2" });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const rows = sentimentRows(40);
const texts = [
  "the film was great",
  "",
  "awful awful",
  "it is so nice and very very very very good",
];
const COMMON = { r: 4, threads: 1, batchSize: 8 } as const;

function options(more: Partial<TrainerOptions> = {}): TrainerOptions {
  return { model: bert, data: rows, learningRate: 0.01, ...COMMON, ...more };
}

interface Run {
  readonly events: TrainingEvent[];
  readonly losses: number[];
  readonly scores: number[];
}

/** Train, predict, close. */
async function run(more: Partial<TrainerOptions>): Promise<Run> {
  const trainer = await Trainer.create(options(more));
  const events: TrainingEvent[] = [];
  trainer.on((event) => events.push(event));
  await trainer.train();
  const scores = (await trainer.predict(texts)).map(({ scores }) => scores["good"]!);
  await trainer.close();
  return { events, losses: lossesOf(events), scores };
}

const lossesOf = (events: readonly TrainingEvent[]): number[] =>
  events.flatMap((event) => (event.type === "step" ? [event.loss] : []));

describe("training", () => {
  it.each(["bert", "gpt2"])("overfits one batch (%s)", async (family) => {
    const { losses } = await run({
      model: family === "bert" ? bert : gpt2,
      data: rows.slice(0, 8),
      validationSplit: 0,
      steps: 150,
      schedule: "constant",
      learningRate: 0.005,
    });
    expect(losses).toHaveLength(150);
    expect(losses.at(-1)).toBeLessThan(0.01);
  });

  it("gives the same run for the same seed, with dropout too, and another for another", async () => {
    const more = { epochs: 1, dropout: 0.2, loraDropout: 0.1 };
    const [first, second, other] = [
      await run(more),
      await run(more),
      await run({ ...more, seed: 5 }),
    ];
    expect(second.losses).toEqual(first.losses);
    expect(second.scores).toEqual(first.scores);
    expect(other.losses).not.toEqual(first.losses);
  });

  it("accumulates: 4 batches of 2 are one batch of 8", async () => {
    const data = rows.slice(0, 8);
    const more = { data, validationSplit: 0, steps: 6, classWeights: "balanced" } as const;
    const whole = await run(more);
    const parts = await run({ ...more, batchSize: 2, gradientAccumulation: 4 });
    // Float32 sums in another order.
    for (const [i, loss] of whole.losses.entries()) expect(parts.losses[i]).toBeCloseTo(loss, 5);
  });

  it("fills short batches without changing the loss", async () => {
    const more = { data: rows.slice(0, 3), validationSplit: 0, steps: 4, maxGradNorm: 0 };
    const exact = await run({ ...more, batchSize: 3 });
    const filled = await run({ ...more, batchSize: 2, gradientAccumulation: 2 });
    for (const [i, loss] of exact.losses.entries()) expect(filled.losses[i]).toBeCloseTo(loss, 5);
  });

  it("computes no larger batch than there are examples", async () => {
    const more = { data: rows.slice(0, 3), validationSplit: 0, steps: 2 };
    const exact = await run({ ...more, batchSize: 3 });
    const huge = await run({ ...more, batchSize: 1e6 });
    expect(huge.losses).toEqual(exact.losses);
  });

  it("stops early and keeps the best adapter", async () => {
    const trainer = await Trainer.create(
      options({ epochs: 50, learningRate: 1e-9, earlyStopping: 2 }),
    );
    const events: TrainingEvent[] = [];
    trainer.on((event) => events.push(event));
    const result = await trainer.train();
    const evaluated = events.filter((event) => event.type === "evaluated");
    const best = evaluated.findLast(({ isBest }) => isBest)!;
    expect(result).toMatchObject({ reason: "early-stopping", keptStep: best.step });
    expect(evaluated.length).toBeLessThan(50);
    expect(await trainer.evaluate()).toEqual(best.metrics);
    await trainer.close();
  });
});

describe("output directory", () => {
  it("holds all that predicting needs, bit for bit", async () => {
    const output = join(root, "out");
    const trainer = await Trainer.create(options({ output, epochs: 2 }));
    const result = await trainer.train();
    expect(result).toMatchObject({ reason: "completed", output });
    const expected = await trainer.predict(texts);
    const metrics = await trainer.evaluate(rows);
    await trainer.save(join(root, "again"));
    await trainer.close();

    expect(readdirSync(output).sort()).toEqual([
      "README.md",
      "adapter_config.json",
      "adapter_model.safetensors",
      "lowrank.json",
      "metrics.jsonl",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const config = JSON.parse(readFileSync(join(output, "adapter_config.json"), "utf8"));
    expect(config.target_modules).toEqual(["dense", "key", "query", "value"]);
    const log = readFileSync(join(output, "metrics.jsonl"), "utf8").trim().split("\n");
    expect(log.map((line) => JSON.parse(line).type)).toContain("evaluated");
    const card = readFileSync(join(output, "README.md"), "utf8");
    expect(card).toContain("library_name: peft");
    expect(card).toMatch(
      /puts them on the base model; load that with [^.]*`id2label`[^.]* in lowrank\.json\./,
    );
    // Options that the run has, not those of other tasks and methods.
    expect(card).toContain("| classWeights | none |");
    expect(card).not.toMatch(/maxAnswerTokens|saveDtype/);

    const predictor = await Predictor.load(output, { threads: 1 });
    expect(predictor.baseModel).toBe(bert);
    expect(await predictor.predict(texts)).toEqual(expected);
    expect(await predictor.evaluate(rows)).toEqual(metrics);
    expect((await predictor.predict(texts.slice(0, 1)))[0]!.label).toBe(expected[0]!.label);
    await predictor.close();
  });

  it("is readable without lowrank.json, and names where the base model was looked for", async () => {
    const output = join(root, "peft");
    const trainer = await Trainer.create(options({ output, epochs: 1 }));
    await trainer.train();
    const expected = await trainer.predict(texts);
    await trainer.close();
    rmSync(join(output, "lowrank.json"));
    const predictor = await Predictor.load(output, { threads: 1 });
    const scores = (await predictor.predict(texts)).map(
      (prediction) => prediction.scores["LABEL_1"],
    );
    expect(scores).toEqual(expected.map((prediction) => prediction.scores["good"]));
    await predictor.close();

    const file = join(output, "adapter_config.json");
    writeFileSync(file, readFileSync(file, "utf8").replace(bert, "/nowhere/model"));
    expect((await failure(Predictor.load(output))).message).toContain(
      "looked for in /nowhere/model",
    );
  });

  it("finds its base model after both have moved together", async () => {
    const before = join(root, "before");
    await writeTinyModel(join(before, "model"), { family: "gpt2" });
    const output = join(before, "runs", "out");
    const trainer = await Trainer.create(
      options({ model: join(before, "model"), output, steps: 1 }),
    );
    await trainer.train();
    await trainer.close();
    const after = join(root, "after");
    renameSync(before, after);
    const predictor = await Predictor.load(join(after, "runs", "out"), { threads: 1 });
    expect(predictor.baseModel).toBe(join(after, "model"));
    expect(await predictor.predict([])).toEqual([]);
    await predictor.close();
  });

  it("is refused before training when it exists, and left alone on failure", async () => {
    const output = join(root, "exists");
    mkdirSync(output);
    writeFileSync(join(output, "mine.txt"), "");
    const refused = await failure(Trainer.create(options({ output })));
    expect(refused).toMatchObject({ code: "io" });
    const before = readdirSync(root).sort();
    const { model } = options();
    const onModel = await failure(Trainer.create(options({ output: model, overwrite: true })));
    expect(onModel.message).toContain("refusing to overwrite a directory that the output is made");
    await failure(Trainer.create(options({ output: join(root, "new"), textColumn: "absent" })));
    expect(readdirSync(root).sort()).toEqual(before);
  });

  it("is absent when it cannot be written; the adapter can be saved elsewhere", async () => {
    const output = join(root, "unwritable");
    const trainer = await Trainer.create(options({ output, epochs: 1 }));
    trainer.on((event) => {
      if (event.type !== "evaluated") return;
      for (const name of readdirSync(root)) {
        if (name.startsWith(".unwritable")) rmSync(join(root, name), { recursive: true });
      }
    });
    expect(await failure(trainer.train())).toMatchObject({ code: "io" });
    expect(existsSync(output)).toBe(false);
    await trainer.save(output);
    expect(existsSync(join(output, "adapter_model.safetensors"))).toBe(true);
    await trainer.close();
  });

  it("is saved after an abort", async () => {
    const output = join(root, "aborted");
    const trainer = await Trainer.create(options({ output, epochs: 100 }));
    const controller = new AbortController();
    trainer.on((event) => {
      if (event.type === "step" && event.step === 3) controller.abort();
    });
    const result = await trainer.train({ signal: controller.signal });
    expect(result).toMatchObject({ reason: "aborted", steps: 3, keptStep: 3, output });
    await trainer.close();
    const predictor = await Predictor.load(output, { threads: 1 });
    expect(await predictor.predict(texts)).toHaveLength(texts.length);
    await predictor.close();
  });
});

describe("divergence", () => {
  // Adam's steps overflow float32.
  const diverging = { learningRate: 3e38, warmupSteps: 0, schedule: "constant" } as const;

  it("keeps the last adapter that was evaluated", async () => {
    const output = join(root, "diverged");
    // The first step of a warm-up has rate 0.
    const trainer = await Trainer.create(
      options({ ...diverging, output, warmupSteps: 1, evalEvery: 1 }),
    );
    const before = await trainer.predict(texts);
    const events: TrainingEvent[] = [];
    trainer.on((event) => events.push(event));
    const error = await failure(trainer.train());
    expect(error).toMatchObject({ code: "training" });
    expect(error.message).toMatch(
      /What was trained until step 1 is kept\. .* It is saved in .*diverged\.$/,
    );
    expect(events.at(-1)).toEqual({ type: "failed", step: 2, message: error.message });
    expect(await trainer.predict(texts)).toEqual(before);
    await trainer.close();
    const predictor = await Predictor.load(output, { threads: 1 });
    expect(predictor.manifest!.result).toMatchObject({ reason: "diverged", keptStep: 1 });
    expect(await predictor.predict(texts)).toEqual(before);
    await predictor.close();
  });

  it("saves nothing when nothing was good, and goes back to the untrained adapter", async () => {
    const output = join(root, "nothing");
    const trainer = await Trainer.create(options({ ...diverging, output }));
    const before = await trainer.predict(texts);
    const error = await failure(trainer.train());
    expect(error.message).toContain("nothing is kept. Choose a learning rate below 3e+38");
    expect(existsSync(output)).toBe(false);
    expect(await trainer.predict(texts)).toEqual(before);
    await trainer.close();
  });
});

describe("data that does not fit", () => {
  it("names a label that training did not have", async () => {
    const validationData = [{ text: "so so", label: "mixed" }];
    const error = await failure(Trainer.create(options({ validationData })));
    expect(error).toMatchObject({ code: "data" });
    expect(error.message).toContain('the label "mixed" is not one of the training data\'s');
  });

  it("refuses a tokenizer with more tokens than the model's embedding has rows", async () => {
    const config = { vocab_size: 10 };
    const model = await writeTinyModel(join(root, "few-rows"), { family: "bert", config });
    const error = await failure(Trainer.create(options({ model })));
    expect(error).toMatchObject({ code: "tokenizer" });
    expect(error.message).toMatch(/has \d+ tokens, the model's embedding 10 rows/);
  });

  it("refuses a single label", async () => {
    const data = rows.filter(({ label }) => label === "good");
    expect((await failure(Trainer.create(options({ data })))).message).toContain("at least two");
  });

  it("holds out each class in proportion and counts what was cut", async () => {
    const data = rows.filter((_, i) => i % 2 === 0 || i % 8 === 1); // 20 good, 5 bad
    const trainer = await Trainer.create(
      options({ data, validationSplit: 0.2, epochs: 1, maxLength: 8 }),
    );
    const events: TrainingEvent[] = [];
    trainer.on((event) => events.push(event));
    const { metrics } = await trainer.train();
    expect(metrics!.details["perLabel"]).toMatchObject({
      good: { support: 4 },
      bad: { support: 1 },
    });
    const long = data.filter(({ text }) => text.split(" ").length > 6).length;
    expect(events[0]).toMatchObject({ type: "started", validationExamples: 5, truncated: long });
    await trainer.close();
  });

  it("trains without a held-out part where no class can spare an example", async () => {
    const trainer = await Trainer.create(options({ data: rows.slice(0, 2), epochs: 1 }));
    const events: TrainingEvent[] = [];
    trainer.on((event) => events.push(event));
    const result = await trainer.train();
    expect(result.metrics).toBeUndefined();
    expect(events[1]).toMatchObject({ type: "warning" });
    expect((await failure(trainer.evaluate())).message).toContain("there is no validation data");
    await trainer.close();
  });

  it("refuses weights that are no numbers, a foreign tokenizer, unknown options", async () => {
    const damaged = await writeTinyModel(join(root, "damaged"), {
      family: "bert",
      change: (name, values) => {
        if (name.endsWith("layer.1.output.dense.weight")) values[3] = NaN;
      },
    });
    expect((await failure(Trainer.create(options({ model: damaged })))).message).toMatch(
      /^bert\.encoder\.layer\.1\.output\.dense\.\S*weight: expected finite numbers as weights, got NaN at element 3/,
    );
    const foreign = await writeTinyModel(join(root, "foreign"), {
      family: "bert",
      config: { vocab_size: 10 },
    });
    expect((await failure(Trainer.create(options({ model: foreign })))).message).toContain(
      "the tokenizer has 24 tokens, the model's embedding 10 rows",
    );
    expect((await failure(Trainer.create(options({ bestMetric: "f2" })))).message).toContain(
      "bestMetric: expected one of loss, accuracy, macroF1",
    );
    expect((await failure(Trainer.create(options({ epochs: -1 })))).code).toBe("usage");
  });
});

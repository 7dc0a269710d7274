import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { failure } from "../../test/failure.ts";
import { sentimentRows, writeTinyModel } from "../../test/tiny-model.ts";
import type { LowrankError } from "../errors.ts";
import type { TrainingEvent, TrainResult } from "./events.ts";
import { STATE_FILE, STATE_WEIGHTS_FILE } from "./training-state.ts";
import { Trainer, type ResumeOptions, type TrainerOptions } from "./trainer.ts";

let root: string;
let model: string;
let folder: string;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "resume-"));
  model = await writeTinyModel(join(root, "bert"), { family: "bert" });
});
beforeEach(() => {
  folder = mkdtempSync(join(root, "case-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** 36 training examples: 9 batches, 5 steps an epoch, 15 in all. */
const rows = sentimentRows(40);
const LAST = 15;

function writeRows(name = "data.json", data: readonly object[] = rows): string {
  const file = join(folder, name);
  writeFileSync(file, JSON.stringify(data));
  return file;
}

function options(more: Partial<TrainerOptions> = {}): TrainerOptions {
  const random = { dropout: 0.2, loraDropout: more.method === "full" ? 0 : 0.1 };
  const size = { batchSize: 4, gradientAccumulation: 2, epochs: 3, threads: 1 };
  const rank = more.method === "full" ? {} : { r: 4 };
  return { model, data: writeRows(), learningRate: 0.01, ...random, ...size, ...rank, ...more };
}

interface Ended {
  readonly events: TrainingEvent[];
  readonly result: TrainResult;
}

/** Train to the end, or stop after a step. */
async function train(trainer: Trainer, last?: number): Promise<Ended> {
  const events: TrainingEvent[] = [];
  const abort = new AbortController();
  trainer.on((event) => {
    events.push(event);
    if (event.type === "step" && event.step === last) abort.abort();
  });
  try {
    return { events, result: await trainer.train({ signal: abort.signal }) };
  } finally {
    await trainer.close();
  }
}

async function run(directory: string, more: Partial<TrainerOptions>, last?: number) {
  return train(await Trainer.create(options({ ...more, output: directory })), last);
}

/** What a run computed: everything but times. */
function computed(events: readonly TrainingEvent[]): unknown[] {
  return events.flatMap((event) => {
    if (event.type === "step")
      return [[event.step, event.loss, event.gradNorm, event.learningRate]];
    if (event.type === "evaluated") return [[event.step, event.metrics.scalars, event.isBest]];
    return [];
  });
}

const logOf = (directory: string): TrainingEvent[] =>
  readFileSync(join(directory, "metrics.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as TrainingEvent);

function expectSame(directory: string, whole: string): void {
  const weights = readdirSync(whole).filter((file) => file.endsWith(".safetensors"));
  expect(weights.length).toBeGreaterThan(0);
  for (const file of weights) {
    expect(readFileSync(join(directory, file)).equals(readFileSync(join(whole, file)))).toBe(true);
  }
  expect(readdirSync(directory).toSorted()).toEqual(readdirSync(whole).toSorted());
  expect(computed(logOf(directory))).toEqual(computed(logOf(whole)));
}

const KINDS: Readonly<Record<string, Partial<TrainerOptions>>> = {
  "an adapter": {},
  "an adapter without validation data": { validationSplit: 0, epochs: 2.5, evalEvery: 4 },
  "an adapter that starts from the weights": { initLoraWeights: "pissa", useDora: true },
  "an adapter with LoRA+ that is best early": {
    loraPlusLrRatio: 16,
    learningRate: 0.05,
    evalEvery: 2,
  },
  "a whole model": { method: "full", learningRate: 0.001 },
  "the change of the last layer": { method: "full", save: "delta", trainLastLayers: 1 },
};

describe("a run that was aborted goes on as if it had not been", () => {
  it.each(Object.entries(KINDS))("%s", async (_, more) => {
    const [whole, parts] = [join(folder, "whole"), join(folder, "parts")];
    const { result } = await run(whole, more);
    // In the first epoch; at its end, before the evaluation; in the second.
    const stops = [2, 5, 7];
    await run(parts, more, stops[0]);
    for (const stop of stops.slice(1)) {
      expect(existsSync(join(parts, STATE_FILE))).toBe(true);
      const stopped = await train(await Trainer.resume(parts), stop);
      expect(stopped.result).toMatchObject({ reason: "aborted", steps: stop });
    }
    const ended = await train(await Trainer.resume(parts));
    const { reason, steps, epochs, tokens, trainLoss, keptStep, metrics } = result;
    const same = { reason, steps, epochs, tokens, trainLoss, keptStep };
    expect(ended.result).toMatchObject({ ...same, ...(metrics ? { metrics } : {}) });
    expect(ended.events[0]).toMatchObject({ type: "started", stepsBefore: 7 });
    expectSame(parts, whole);
  });

  it("stops early where it would have", async () => {
    const more = { earlyStopping: 2, learningRate: 1e-9, epochs: 20 };
    const [whole, parts] = [join(folder, "whole"), join(folder, "parts")];
    const { result } = await run(whole, more);
    expect(result.reason).toBe("early-stopping");
    await run(parts, more, result.steps - 1);
    const ended = await train(await Trainer.resume(parts));
    expect(ended.result).toMatchObject({ reason: "early-stopping", keptStep: result.keptStep });
    expectSame(parts, whole);
  });

  it("with rows in memory that are given again", async () => {
    const [whole, parts] = [join(folder, "whole"), join(folder, "parts")];
    await run(whole, { data: rows });
    await run(parts, { data: rows }, 3);
    const error = await failure(Trainer.resume(parts));
    expect(error.message).toBe(
      `data: the run in ${parts} had rows in memory, which are not stored. Pass them again.`,
    );
    await train(await Trainer.resume(parts, { data: rows }));
    expectSame(parts, whole);
  });
});

/** Copies of the directory, as a crash would have left it, by the step that was saved. */
async function crashes(directory: string, more: Partial<TrainerOptions>) {
  const copies: string[] = [];
  const trainer = await Trainer.create(options({ ...more, output: directory }));
  trainer.on((event) => {
    if (event.type !== "saved") return;
    const copy = `${directory}-${copies.length}`;
    cpSync(directory, copy, { recursive: true });
    copies.push(copy);
  });
  await trainer.train();
  await trainer.close();
  return copies.slice(0, -1);
}

describe("saveEvery", () => {
  it("leaves what can be used and gone on with after a crash", async () => {
    const whole = join(folder, "whole");
    const copies = await crashes(whole, { saveEvery: 4 });
    expect(copies).toHaveLength(3);
    for (const copy of copies) {
      const manifest = JSON.parse(readFileSync(join(copy, "lowrank.json"), "utf8"));
      expect(manifest.result.reason).toBe("aborted");
      await train(await Trainer.resume(copy));
      expect(computed(logOf(copy))).toEqual(computed(logOf(whole)));
      const weights = "adapter_model.safetensors";
      expect(readFileSync(join(copy, weights))).toEqual(readFileSync(join(whole, weights)));
    }
  });

  it("holds the best weights so far", async () => {
    const directory = join(folder, "best");
    const more = { saveEvery: 4, evalEvery: 3, learningRate: 0.05 };
    const [, second] = await crashes(directory, more);
    const { result } = JSON.parse(readFileSync(join(second!, "lowrank.json"), "utf8"));
    const evaluations = logOf(second!).filter((event) => event.type === "evaluated");
    const best = evaluations.findLast(({ isBest }) => isBest)!;
    expect(result.keptStep).toBe(best.step);
    const stopped = join(folder, "stopped");
    await run(stopped, { ...more, saveEvery: undefined }, 8);
    const weights = "adapter_model.safetensors";
    expect(readFileSync(join(second!, weights))).toEqual(readFileSync(join(stopped, weights)));
  });

  it("replaces no directory that was there before", async () => {
    const directory = join(folder, "there");
    const trainer = await Trainer.create(options({ output: directory, saveEvery: "epoch" }));
    cpSync(model, directory, { recursive: true });
    const { events, result } = await train(trainer).catch((error: unknown) => ({
      events: [],
      result: (error as LowrankError).message,
    }));
    expect(events).toEqual([]);
    expect(result).toContain("expected a new or empty output directory");
    expect(readdirSync(directory)).toContain("config.json");
  });

  it("needs a directory", async () => {
    const error = await failure(Trainer.create(options({ saveEvery: 2 })));
    expect(error.message).toBe("options: saveEvery: needs an output directory.");
  });
});

describe("what cannot be gone on with", () => {
  let directory: string;
  const resumed = (changes?: ResumeOptions): Promise<LowrankError> =>
    failure(Trainer.resume(directory, changes));
  beforeEach(async () => {
    directory = join(folder, "out");
    await run(directory, {}, 3);
  });

  it("a finished run", async () => {
    await train(await Trainer.resume(directory));
    expect((await resumed()).message).toBe(
      `${directory}: expected a run that was interrupted (with training_state.json), got none. ` +
        "A finished run has nothing left to do; a new one can train on what it made (`adapter`).",
    );
  });

  it("other data", async () => {
    const changed = rows.toSpliced(7, 1, { ...rows[7]!, text: "nice" });
    const file = writeRows("data.json", changed);
    const before = readdirSync(directory);
    expect((await resumed()).message).toBe(
      `${directory}: expected the data that the run began with, got other examples in ${file}. ` +
        "Restore the files, say where they are now (data, validationData), or train again.",
    );
    expect(readdirSync(directory)).toEqual(before);
    expect(readdirSync(folder).filter((name) => name.includes(".tmp"))).toEqual([]);
    const moved = writeRows("moved.json");
    const { result } = await train(await Trainer.resume(directory, { data: moved }));
    expect(result.steps).toBe(LAST);
  });

  it("another base model", async () => {
    const larger = await writeTinyModel(join(folder, "larger"), {
      family: "bert",
      config: { num_hidden_layers: 3 },
    });
    expect((await resumed({ model: larger })).message).toContain(
      `${join(directory, STATE_WEIGHTS_FILE)}: parameter.`,
    );
  });

  it("damaged files", async () => {
    const file = join(directory, STATE_FILE);
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace('"step": 3', '"step": "x"'));
    expect((await resumed()).message).toContain(`${file}: loop.step: `);
    writeFileSync(file, text);
    renameSync(join(directory, STATE_WEIGHTS_FILE), join(directory, "elsewhere"));
    expect((await resumed()).message).toContain(STATE_WEIGHTS_FILE);
  });
});

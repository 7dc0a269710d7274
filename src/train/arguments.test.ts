/** @file What JavaScript may pass in the place of arguments: one clear error each, and several calls at once. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { sentimentRows, writeTinyModel } from "../../test/tiny-model.ts";
import { Engine } from "../runtime/engine.ts";
import { Predictor } from "./predict.ts";
import { Trainer } from "./trainer.ts";

let root: string;
let model: string;
let adapter: string;
let trainer: Trainer;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "arguments-"));
  model = await writeTinyModel(join(root, "bert"), { family: "bert" });
  adapter = join(root, "adapter");
  trainer = await Trainer.create({ model, data: sentimentRows(4), r: 2, steps: 1, threads: 1 });
  await trainer.save(adapter);
});
afterAll(async () => {
  await trainer.close();
  rmSync(root, { recursive: true, force: true });
});

/** The error that a call with an argument of no type that it takes ends with. */
const failure = async (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => "none",
    (error: { code?: string; message: string }) => `${error.code}: ${error.message}`,
  );

describe("data", () => {
  const expected = "data: expected a file's path or a list of rows, got ";
  const rest = ". Pass for example [{ text, label }, …].";

  it.each([undefined, null, 5, {}])("that is %j", async (data) => {
    const message = `data: ${expected}${JSON.stringify(data)}${rest}`;
    expect(await failure(Trainer.create({ model, data: data as never }))).toBe(message);
    const validationData = (data ?? null) as never;
    const given = { model, data: sentimentRows(4), validationData };
    expect(await failure(Trainer.create(given))).toContain(expected);
  });

  it("with a row that is none", async () => {
    const data = [{ text: "a", label: "x" }, "b"] as never;
    expect(await failure(trainer.evaluate(data))).toBe(
      'data: rows in memory: row 2: expected an object with a key for each column, got "b". Pass for example { text, label }.',
    );
  });
});

describe("inputs", () => {
  it.each(["a text", undefined, 5, {}])("that are %j", async (inputs) => {
    expect(await failure(trainer.predict(inputs as never))).toBe(
      `usage: inputs: expected a list, got ${JSON.stringify(inputs)}. Pass [text], or several at once.`,
    );
  });

  it.each([null, undefined, 5, 5n])("with %s among them", async (input) => {
    expect(await failure(trainer.predict(["a", input as never]))).toMatch(
      /^data: input 2: text: expected a text, got undefined/,
    );
  });
});

describe("Predictor.load", () => {
  it("lists every option that is none", async () => {
    const options = { batch_size: 4, device: "gpu", threads: -1, shareWith: {} } as never;
    const message = await failure(Predictor.load(adapter, options));
    expect(message).toMatch(/^usage: Predictor\.load: /);
    expect(message).toContain('device: Invalid option: expected one of "cpu"');
    expect(message).toContain("threads: Too small");
    expect(message).toContain("shareWith: expected a Predictor");
    expect(message).toContain('Unrecognized key: "batch_size"');
  });

  it.each([undefined, null, 5, ""])("needs a directory, not %j", async (directory) => {
    const message = await failure(Predictor.load(directory as never));
    expect(message).toMatch(/^usage: directory: expected a path, got /);
  });

  it("refuses a base model, whose head would be random", async () => {
    expect(await failure(Predictor.load(model))).toBe(
      `checkpoint: ${model}: expected a model that was trained for a task, got one without classifier.weight, classifier.bias. ` +
        "Pass the directory that training wrote.",
    );
  });
});

describe("calls at once", () => {
  it("are told of their own data", async () => {
    const predictor = await Predictor.load(adapter, { threads: 1, maxLength: 4 });
    try {
      const cut = async (text: string): Promise<number> => {
        let truncated = -1;
        await predictor.predict([text], undefined, (notes) => (truncated = notes.truncated));
        return truncated;
      };
      const texts = ["good film good film", "bad", "good good good"];
      expect(await Promise.all(texts.map(cut))).toEqual([1, 0, 1]);
      expect(await Promise.all([...texts, "bad"].map(cut))).toEqual([1, 0, 1, 0]);
      const notes: unknown[] = [];
      await predictor.evaluate([{ text: "bad bad bad", label: "bad" }], {}, undefined, (own) =>
        notes.push(own),
      );
      expect(notes).toEqual([{ truncated: 1, warnings: [] }]);
    } finally {
      await predictor.close();
    }
  });

  it("compile what they need once", async () => {
    const compile = vi.spyOn(Engine.prototype, "compile");
    const predictor = await Predictor.load(adapter, { threads: 1 });
    try {
      const alone = ["good", "bad", "film"];
      const all = await Promise.all(alone.map((text) => predictor.predict([text])));
      expect(compile).toHaveBeenCalledTimes(1);
      expect(all.flat()).toEqual(
        (await Promise.all(alone.map((text) => predictor.predict([text])))).flat(),
      );
    } finally {
      compile.mockRestore();
      await predictor.close();
    }
  });
});

/** @file Full fine-tuning on the command line: a stored change is taken wherever an adapter is. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { run } from "../../src/cli/run.ts";
import { sentimentRows, writeTinyModel } from "../tiny-model.ts";

let root: string;
let delta: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "full-"));
  delta = join(root, "delta");
  await writeTinyModel(join(root, "bert"), { family: "bert" });
  const lines = sentimentRows(40).map(({ text, label }) => `${text},${label}`);
  writeFileSync(join(root, "data.csv"), ["text,label", ...lines, ""].join("\n"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** What a command prints. Its exit code must be `code`. */
async function printed(code: number, ...args: string[]): Promise<string> {
  let text = "";
  const collect = (chunk: string | Uint8Array): boolean => {
    text += String(chunk);
    return true;
  };
  const spies = [process.stdout, process.stderr].map((stream) =>
    vi.spyOn(stream, "write").mockImplementation(collect),
  );
  try {
    expect(await run(args)).toBe(code);
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  return text;
}

const train = (code: number, output: string, ...more: string[]): Promise<string> => {
  const [model, data] = ["bert", "data.csv"].map((name) => join(root, name)) as [string, string];
  const options = ["--model", model, "--data", data, "--output", output, "--method", "full"];
  return printed(code, "train", ...options, "--epochs", "2", "--threads", "1", ...more);
};

const scores = (text: string): unknown[] =>
  (JSON.parse(text) as { predictions: unknown[] }).predictions;

test("train, evaluate, predict, inspect and merge", async () => {
  const text = await train(0, delta, "--save", "delta", "--train-last-layers", "1");
  expect(text).toMatch(
    /bert \(bert\), [\d,]+ parameters, [\d,]+ trained \(\d+\.\d %\), delta 10\.1 kB/,
  );
  expect(text).toMatch(/training: 10 steps, 2 epochs, on cpu, about 0\.2 GB of memory/);
  expect(text).toMatch(new RegExp(`delta +${delta} `));

  const predict = (directory: string): Promise<string> =>
    printed(0, "predict", "--adapter", directory, "--text", "good", "--threads", "1", "--json");
  const predicted = await predict(delta);
  const data = join(root, "data.csv");
  expect(await printed(0, "evaluate", "--adapter", delta, "--data", data)).toContain("accuracy");

  const inspected = JSON.parse(await printed(0, "inspect", "--adapter", delta, "--json")) as {
    delta: { changed: { name: string; isNew: boolean }[]; dtype: string };
  };
  expect(inspected.delta.dtype).toBe("F32");
  expect(inspected.delta.changed.filter(({ isNew }) => isNew)).toMatchObject([
    { name: "classifier.bias" },
    { name: "classifier.weight" },
  ]);
  expect(await printed(0, "inspect", "--adapter", delta)).toContain("Changed tensors");

  const merged = join(root, "merged");
  expect(await printed(0, "merge", "--adapter", delta, "--output", merged)).toContain("changed");
  expect(scores(await predict(merged))).toEqual(scores(predicted));
  expect(await printed(2, "merge", "--adapter", merged, "--output", join(root, "again"))).toContain(
    `${merged}: is a whole model already. Use it as it is.`,
  );
});

test("options that do not go together are one error, and nothing is written", async () => {
  const output = join(root, "none");
  expect(await train(2, output, "--rank", "4", "--save", "adapter")).toContain(
    "--rank: goes with method lora, not with full; leave it out; --save: expected",
  );
});

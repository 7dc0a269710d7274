/** @file The examples of completions and of generating as a user runs them, made small. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sentimentRows, writeTinyModel } from "../test/tiny-model.ts";

const ROOT = join(import.meta.dirname, "..");
const execute = promisify(execFile);

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "completions-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test("completions", async () => {
  const model = await writeTinyModel(join(directory, "gpt2"), {
    family: "gpt2",
    task: "CAUSAL_LM",
    // Embeddings are the head too: small ones could not tell tokens apart.
    change: (name, values) => {
      if (name.endsWith("wte.weight")) values.set(values.map((value) => 5 * value));
    },
  });
  const data = join(directory, "train.jsonl");
  // "very" is always followed by "nice": learned soon.
  const rows = sentimentRows(600).map(({ text }) => ({
    prompt: `${text} very`,
    completion: " nice",
  }));
  writeFileSync(data, rows.map((row) => JSON.stringify(row)).join("\n"));
  const args = ["--import", "tsx", "examples/completions.ts", model, data];
  const { stdout } = await execute(
    process.execPath,
    [...args, join(directory, "out"), "the film is very", " nice", " sad"],
    { cwd: ROOT },
  );
  expect(stdout).toMatch(/perplexity: [\d.]+/);
  const [nice, sad] = stdout
    .trim()
    .split("\n")
    .slice(-2)
    .map((line) => line.split(" "));
  expect([nice!.at(-1), sad!.at(-1)]).toEqual(["nice", "sad"]);
  expect(10 * Number(nice![0])).toBeLessThan(Number(sad![0]));

  // A language model's base needs no keys of the task.
  const card = readFileSync(join(directory, "out", "README.md"), "utf8");
  expect(card).toContain("puts them on the base model.\n");

  const generated = await execute(
    process.execPath,
    [
      "--import",
      "tsx",
      "examples/generate.ts",
      join(directory, "out"),
      model,
      "1",
      "the film is very",
    ],
    { cwd: ROOT },
  );
  expect(generated.stdout).toBe("the film is very nice\n");
}, 60_000);

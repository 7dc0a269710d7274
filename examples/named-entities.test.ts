/** @file The example of named entities as a user runs it, made small. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sentimentRows, writeTinyModel } from "../test/tiny-model.ts";

const ROOT = join(import.meta.dirname, "..");
const execute = promisify(execFile);

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "named-entities-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test("named-entities", async () => {
  const model = await writeTinyModel(join(directory, "bert"), { family: "bert" });
  const data = join(directory, "train.conll");
  // Every "film" is an entity: learned soon.
  const sentences = sentimentRows(2000).map(({ text }) =>
    text
      .split(" ")
      .map((word) => `${word}\t${word === "film" ? "B-work" : "O"}\n`)
      .join(""),
  );
  writeFileSync(data, sentences.join("\n"));
  const args = ["--import", "tsx", "examples/named-entities.ts"];
  const text = "a very good film";
  const { stdout } = await execute(
    process.execPath,
    [...args, model, data, join(directory, "out"), text],
    { cwd: ROOT },
  );
  expect(stdout).toMatch(/f1: [\d.]+/);
  expect(stdout.trim().split("\n").at(-1)).toBe("a very good [film](work)");
}, 60_000);

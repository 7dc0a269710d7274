/** @file The example of question answering as a user runs it, made small. */
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
  directory = mkdtempSync(join(tmpdir(), "answers-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test("answers", async () => {
  const model = await writeTinyModel(join(directory, "bert"), { family: "bert" });
  const [data, page] = [join(directory, "train.json"), join(directory, "page.txt")];
  // The answer is the word "film": learned soon.
  const films = sentimentRows(8000).filter(({ text }) => text.split("film").length === 2);
  const paragraphs = films.map(({ text: context }, id) => {
    const answers = [{ text: "film", answer_start: context.indexOf("film") }];
    return { context, qas: [{ id, question: "the", answers }] };
  });
  writeFileSync(data, JSON.stringify({ version: "1.1", data: [{ title: "films", paragraphs }] }));
  writeFileSync(page, "it was a very good film and so nice");
  const args = ["--import", "tsx", "examples/answers.ts", model, data, join(directory, "out")];
  const { stdout } = await execute(process.execPath, [...args, "the", page], { cwd: ROOT });
  expect(stdout).toMatch(/exactMatch: [\d.]+/);
  expect(stdout).toMatch(/^film \(characters 19 to 23, probability [\d.]+\)$/m);
}, 60_000);

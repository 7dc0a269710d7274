/** @file Question answering with the built program, on a tiny model. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { sentimentRows, writeTinyModel } from "../tiny-model.ts";

const PROGRAM = join(import.meta.dirname, "../../dist/cli/main.js");

let root: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "questions-cli-"));
  await writeTinyModel(join(root, "bert"), { family: "bert" });
  writeFileSync(join(root, "train.json"), JSON.stringify(squad(60, 1)));
  writeFileSync(join(root, "test.json"), JSON.stringify(squad(20, 2)));
  writeFileSync(join(root, "page.txt"), "the film was so good\nand it is not bad");
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Asks each context for its good word; those with a bad one have no answer. The first answer is misplaced. */
function squad(count: number, seed: number) {
  const paragraphs = sentimentRows(count, seed).map(({ text: context, label }, id) => {
    const word = context.split(" ").find((one) => /good|great|fine|nice|happy/.test(one))!;
    const answer_start = label === "good" ? context.indexOf(word) + (id === 0 ? 99 : 0) : 0;
    const answers = label === "good" ? [{ text: word, answer_start }] : [];
    return { context, qas: [{ id, question: "is it", answers, is_impossible: label !== "good" }] };
  });
  return { version: "v2.0", data: [{ title: "films", paragraphs }] };
}

interface Result {
  readonly code: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

function lowrank(...args: string[]): Promise<Result> {
  const env = { ...process.env, NO_COLOR: "1" };
  return new Promise((resolve) => {
    execFile(process.execPath, [PROGRAM, ...args], { cwd: root, env }, (error, stdout, stderr) =>
      resolve({ code: error?.code ?? 0, stdout, stderr }),
    );
  });
}

it("trains on SQuAD, measures, and answers about a file", async () => {
  const line =
    "train --model bert --task qa --data train.json -o out --threads 1 --rank 4 --epochs 1";
  const trained = await lowrank(...line.split(" "));
  expect(trained).toMatchObject({ code: 0 });
  expect(trained.stdout).toMatch(/^validation f1 +[\d.]+$/m);
  expect(trained.stdout).toContain('predict --adapter out --question "..." --context "..."');
  expect(trained.stderr).toMatch(
    /questions that teach nothing.*: 1\n.*row 1 \(id 0\): "\w+" is not/,
  );
  expect(readFileSync(join(root, "out/README.md"), "utf8")).toContain(
    '--question "Some text" --context "Some text"',
  );

  const measured = await lowrank("evaluate", "--adapter", "out", "--data", "test.json");
  expect(measured.stdout).toMatch(/^exactMatch +[\d.]+\nf1 +[\d.]+$/m);
  expect(measured.stdout).toMatch(/^ *with an answer +[\d.]+ +[\d.]+ +10$/m);
  // Without a terminal there is no progress.
  expect(measured.stderr).not.toMatch(/[━\r]/);
  expect(measured.stderr).toMatch(/^warning: test\.json: questions that teach nothing/m);

  const ask = ["predict", "--adapter", "out", "--question", "is it", "--context-file", "page.txt"];
  const json = await lowrank(...ask, "--null-threshold", "1000", "--n-best", "3", "--json");
  const [answer] = JSON.parse(json.stdout) as Record<string, any>[];
  const page = readFileSync(join(root, "page.txt"), "utf8");
  expect(answer).toMatchObject({ question: "is it", context: page, noAnswer: false });
  expect(page.slice(answer!["start"], answer!["end"])).toBe(answer!["answer"]);
  expect(answer!["nBest"]).toHaveLength(3);
  const lines = await lowrank(...ask, "--n-best", "2");
  expect(lines.stdout).toMatch(/^(.+\t0\.\d{4}\t\d+\t\d+\n){2}$/);

  const wrong = await lowrank(...ask, "--n-best", "21");
  expect(wrong.code).toBe(2);
  expect(wrong.stderr).toMatch(/^lowrank: --n-best: expected .*20, got 21\.$/m);
  const lacking = await lowrank("predict", "--adapter", "out", "--question", "is it");
  expect(lacking.stderr).toContain(
    "--context or --context-file is missing: the adapter's task takes --question and --context or --context-file.",
  );
}, 60_000);

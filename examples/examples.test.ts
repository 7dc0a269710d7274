/** @file The examples as a user runs them, made small. */
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sentimentRows, writeTinyModel } from "../test/tiny-model.ts";
import { Trainer } from "../src/train/trainer.ts";
import { readMail } from "./mails.ts";

const ROOT = join(import.meta.dirname, "..");
const execute = promisify(execFile);

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "examples-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function run(
  name: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const all = ["--import", "tsx", `examples/${name}`, ...args];
  const options = { cwd: ROOT, env: { ...process.env, ...env } };
  return (await execute(process.execPath, all, options)).stdout;
}

test("quickstart, and again over its own output", async () => {
  const env = {
    QUICKSTART_TRAIN: "20",
    QUICKSTART_TEST: "8",
    QUICKSTART_OUT: join(directory, "quickstart"),
  };
  for (let time = 0; time < 2; time++) {
    const printed = await run("quickstart.ts", [], env);
    expect(printed).toMatch(/^accuracy before +[\d.]+ %$/m);
    expect(printed).toMatch(/^accuracy after +[\d.]+ %$/m);
    expect(printed).toMatch(/^adapter +2\.7 MB, the model 45\.4 MB/m);
    expect(printed).toContain("npx lowrank predict --adapter");
  }
}, 120_000);

test("train-csv", async () => {
  const model = await writeTinyModel(join(directory, "bert"), { family: "bert" });
  const data = join(directory, "train.csv");
  const rows = sentimentRows(40).map(({ text, label }) => `${text},${label}`);
  writeFileSync(data, `text,label\n${rows.join("\n")}\n`);
  const printed = await run("train-csv.ts", [model, data, join(directory, "out"), "good film"]);
  expect(printed).toMatch(/accuracy: [\d.]+/);
  expect(printed).toMatch(/label: '(good|bad)'/);
});

test("several-adapters", async () => {
  const model = await writeTinyModel(join(directory, "several"), { family: "bert" });
  const rows = sentimentRows(8);
  const tagged = rows.map(({ text }) => {
    const tokens = text.split(" ");
    return { tokens, tags: tokens.map((word) => (word === "film" ? "B-ART" : "O")) };
  });
  const outputs = [join(directory, "reviews"), join(directory, "names")] as const;
  for (const [output, options] of [
    [outputs[0], { data: rows }],
    [outputs[1], { task: "ner", data: tagged, steps: 60, learningRate: 0.02 }],
  ] as const) {
    const trainer = await Trainer.create({ model, output, r: 4, validationSplit: 0, ...options });
    await trainer.train();
    await trainer.close();
  }
  const printed = await run("several-adapters.ts", ["a very good film", ...outputs]);
  expect(printed).toMatch(/reviews \(sequence-classification\): \{\s+label: '(good|bad)'/);
  expect(printed).toMatch(/names \(token-classification\): \{\s+entities: \[\s+\{[^]*text: 'film'/);
}, 60_000);

test("own-model", async () => {
  const output = join(directory, "own-model");
  const printed = await run("own-model.ts", [output, "300"]);
  const losses = [...printed.matchAll(/loss ([\d.]+)/g)].map(([, loss]) => Number(loss));
  expect(losses).toHaveLength(2);
  expect(Math.max(...losses)).toBeLessThan(0.02);
  for (const name of ["model.safetensors", "adapter_model.safetensors", "adapter_config.json"]) {
    expect(existsSync(join(output, name))).toBe(true);
  }
});

test("readMail takes the readable part of a mail", () => {
  const mail = [
    "Received: from somewhere",
    "Subject: =?iso-8859-1?Q?[List]_Good_news?=",
    'Content-Type: multipart/mixed; boundary="=_b"',
    "",
    "--=_b",
    "Content-Type: text/html",
    "Content-Transfer-Encoding: base64",
    "",
    Buffer.from("<html><style>p{}</style><p>Caf&eacute; &amp; <b>bar</b></p>").toString("base64"),
    "--=_b--",
  ].join("\n");
  expect(readMail(mail)).toBe("Good news Caf&eacute; & bar");
});

test("four-steps", async () => {
  const env = {
    FOUR_STEPS_TRAIN: "8",
    FOUR_STEPS_TEST: "4",
    FOUR_STEPS_OUT: join(directory, "four-steps"),
  };
  const printed = await run("four-steps.ts", [], env);
  expect(printed).toMatch(/22,713,986 of 22,713,986 parameters are trained/);
  expect(printed).toMatch(/rank 16: [\d.]+ % of all ΔW's energy is kept/);
  expect(printed).toMatch(/^1\. W' of all weights +90\.87 MB +[\d.]+ %$/m);
  expect(printed).toMatch(/^2\. ΔW of all weights +9[01]\.\d+ MB +[\d.]+ %$/m);
  expect(printed).toMatch(/^3\. ΔW ≈ A·B, rank 4 +[\d.]+ MB +[\d.]+ %$/m);
  expect(printed).toMatch(/^4\. A and B, trained, rank 16 +2\.72 MB +[\d.]+ %$/m);
}, 180_000);

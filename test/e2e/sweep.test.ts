/** @file lowrank sweep as a user runs it, on a tiny model. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { sentimentRows, writeTinyModel } from "../tiny-model.ts";

const PROGRAM = join(import.meta.dirname, "../../dist/cli/main.js");
const TIMEOUT_MS = 180_000;

let root: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "sweep-"));
  await writeTinyModel(join(root, "bert"), { family: "bert" });
  const rows = sentimentRows(40, 1).map(({ text, label }) => `${text},${label}`);
  writeFileSync(join(root, "train.csv"), `text,label\n${rows.join("\n")}\n`);
  const numbers = sentimentRows(40, 1).map(({ text }, index) => `${text},${index / 8}`);
  writeFileSync(join(root, "numbers.csv"), `text,label\n${numbers.join("\n")}\n`);
  writeFileSync(
    join(root, "sweep.yaml"),
    "model: bert\ndata: train.csv\nthreads: 1\nsteps: 2\ntry: [rank=2]\n",
  );
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function lowrank(...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const env = { ...process.env, NO_COLOR: "1" };
  const child = spawn(process.execPath, [PROGRAM, ...args], { cwd: root, env });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data) => (out += data));
  child.stderr.on("data", (data) => (err += data));
  return new Promise((resolve) => {
    child.on("close", (code) => resolve({ code, out, err }));
  });
}

const sweep = (...args: string[]) => lowrank("sweep", "--config", "sweep.yaml", ...args);

it(
  "ranks trials, names failed ones below the table, and trains with the best options",
  async () => {
    const tries = ["--try", "rank=2,900", "--try", "lr=1e-3"];
    const { code, out, err } = await sweep("--output", "my sweep", ...tries);
    expect(code).toBe(0);
    expect(err).toMatch(
      /^trial-1 \(1 of 2\) …\ntrial-1: loss 0\.\d{4}, 0:0\d\ntrial-2 \(2 of 2\) …/,
    );
    expect(out).toMatch(/^2 trials, the best first:\n\n {2}trial +rank +loss +accuracy +macroF1 /);
    expect(out).toMatch(
      /\n {2}trial-2 +900 +failed\n\ntrial-2 failed: --rank: larger than the layer/,
    );
    expect(out).toContain("lowrank train --config 'my sweep/best.json' --output adapter\n");
    const best = await lowrank("train", "--config", "my sweep/best.json", "--output", "best");
    expect(best).toMatchObject({ code: 0 });

    const other = await sweep("--output", "my sweep", ...tries, "--epochs", "9");
    expect(other).toMatchObject({ code: 2, out: "" });
    expect(other.err).toContain("my sweep: holds another sweep (sweep.json): epochs was 3, is 9. ");
  },
  TIMEOUT_MS,
);

it(
  "takes the smallest of what is better the lower it is",
  async () => {
    const data = ["--data", "numbers.csv", "--try", "lr=1e-5,1e-2,1e-3", "--metric", "mae"];
    const { code, out } = await sweep("--output", "mae", ...data, "--steps", "8", "--json");
    expect(code).toBe(0);
    const { results } = JSON.parse(out) as { results: { metrics: { mae: number } }[] };
    const errors = results.map(({ metrics }) => metrics.mae);
    expect(errors).toEqual(errors.toSorted((a, b) => a - b));
    expect(new Set(errors).size).toBe(3);
    const best = JSON.parse(readFileSync(join(root, "mae/best.json"), "utf8"));
    expect(JSON.parse(out).best).toEqual(best);
  },
  TIMEOUT_MS,
);

it.each([
  ["--try rank=2,abc", '--try rank: expected a whole number above 0, got "abc".'],
  ["--try rank=0..8 --strategy random", "--try rank: expected a whole number above 0, got 0."],
  ["--try lr=1..x", '--try lr: expected a number above 0, got "1..x".'],
  ["--try method=qlora", '--try method: expected one of lora, full, got "qlora".'],
  [
    "--try rank=2 --try r=4",
    "--try: expected rank once, got it 2 times. Put all of its values into one.",
  ],
  [
    "--try depth=2",
    '--try: expected an option of training and its values, like rank=4,16, got "depth=2".',
  ],
  [
    "--try lr=1e-5..1e-2",
    "--learning-rate: a grid needs single values, got the range 0.00001..0.01.",
  ],
  ["--metric f7", '--metric: expected one of loss, accuracy, macroF1, got "f7".'],
  [
    "--validation-split 0",
    "--data: no example is held out, so that there is nothing to choose by.",
  ],
  ["--data no.csv", "no.csv: there is no such file"],
  ["--model no", "no/config.json: cannot read"],
])(
  "refuses %s before anything is trained",
  async (flags, message) => {
    const { code, err, out } = await sweep("--output", "refused", ...flags.split(" "));
    expect(code).toBeGreaterThan(0);
    expect(out).toBe("");
    expect(err).toContain(`lowrank: ${message}`);
    expect(err.trimEnd().split("\n")).toHaveLength(1);
    expect(existsSync(join(root, "refused"))).toBe(false);
  },
  TIMEOUT_MS,
);

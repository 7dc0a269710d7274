/** @file lowrank compare as a user runs it, on a tiny model. */
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { problemsOf } from "../html/well-formed.ts";
import { sentimentRows, writeTinyModel } from "../tiny-model.ts";

const PROGRAM = join(import.meta.dirname, "../../dist/cli/main.js");
const TIMEOUT_MS = 180_000;

let root: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "compare-"));
  await writeTinyModel(join(root, "bert"), { family: "bert" });
  for (const [name, count] of [
    ["train.csv", 40],
    ["test.csv", 12],
  ] as const) {
    const rows = sentimentRows(count, count).map(({ text, label }) => `${text},${label}`);
    writeFileSync(join(root, name), `comment,label\n${rows.join("\n")}\n`);
  }
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function compare(line: string): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const given = "compare --model bert --data train.csv --text-column comment --threads 1";
  const args = [PROGRAM, ...given.split(" "), ...line.split(" ")];
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { ...process.env, NO_COLOR: "1" },
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data) => (stdout += data));
  child.stderr.on("data", (data) => (stderr += data));
  return new Promise((resolve) => {
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}

const RUN = "--output out --test-data test.csv --ranks 2,1,2 --seeds 1 --steps 3";

it(
  "trains full and LoRA, measures them, and writes table and report",
  async () => {
    const { code, stdout, stderr } = await compare(RUN);
    expect({ code, stderr: stderr.replaceAll(/: accuracy .*/g, "") }).toEqual({
      code: 0,
      stderr: ["full-seed-123", "lora-r1-seed-123", "lora-r2-seed-123"]
        .map((id, index) => `${id} (${index + 1} of 3) …\n${id}\n`)
        .join(""),
    });
    expect(stdout).toMatch(
      /^accuracy and others on 12 test examples, one seed:\n\n {2}method +accuracy /,
    );
    expect(stdout).toMatch(/\n {2}LoRA, rank 2 +0\.\d{4} /);
    expect(stdout).toMatch(/\nReport: {2}out\/report\.html\n$/);
    const html = readFileSync(join(root, "out/report.html"), "utf8");
    expect(problemsOf(html)).toEqual([]);
    expect(html).not.toMatch(/https?:/);

    const results = JSON.parse(readFileSync(join(root, "out/results.json"), "utf8"));
    const [full, one, two] = results.rows;
    expect(full.trainableParameters).toBe(results.setting.parameters);
    expect(full.storedBytes).toBe(4 * full.trainableParameters);
    expect(two.storedBytes).toBeGreaterThan(one.storedBytes);
    expect(one.fullEnergyWithinRank.mean).toBeLessThan(two.fullEnergyWithinRank.mean);
    expect(two.fullEnergyWithinRank.mean).toBeLessThan(1);
    // An adapter's change has its rank, and no energy beyond.
    expect(two.energyWithin[1].mean).toBeCloseTo(1, 9);
    expect(results.matrices.map(({ name }: { name: string }) => name)).toEqual(
      results.setting.matrices,
    );
    const lines = readFileSync(join(root, "out/trials.csv"), "utf8").trimEnd().split("\n");
    expect(lines).toHaveLength(4);
    expect(lines[0]).toContain(",validation_accuracy,");
    expect(lines[0]).toContain(",test_accuracy");
    expect(readFileSync(join(root, "out/results.csv"), "utf8")).toMatch(
      /^method,rank,.*\nfull,,1,0,/,
    );

    rmSync(join(root, "out/lora-r2-seed-123"), { recursive: true });
    const again = await compare(RUN);
    expect(again.code).toBe(0);
    expect(again.stderr).toMatch(/^full-seed-123 \(1 of 3\): .* \(done before\)$/m);
    expect(again.stderr).toMatch(/^lora-r2-seed-123 \(3 of 3\) …$/m);
    const other = await compare(`${RUN} --learning-rate 1e-3`);
    expect(other.code).toBe(2);
    expect(other.stderr).toBe(
      'lowrank: out: holds another comparison (compare.json): learningRates was {"full":0.00005,"lora":0.0005}, ' +
        'is {"full":0.0001,"lora":0.001}; --learning-rate was not given, is 0.001. ' +
        "Repeat its command to go on with it, or choose another directory.\n",
    );
  },
  TIMEOUT_MS,
);

it.each([
  [
    "--methods full,qlora",
    '--methods: expected a list (each one of full, lora), got ["full","qlora"].',
  ],
  ["--ranks 0,4", "--ranks: expected a list (each a whole number above 0), got [0,4]."],
  ["--seeds 0", "--seeds: expected a whole number above 0, got 0."],
  ["--full-learning-rate 0", "--full-learning-rate: expected a number above 0, got 0."],
  ["--ranks 1,4000", "--ranks: expected at most "],
  ["--ranks 1 --metric f7", "--metric: expected one of loss, accuracy, "],
  ["--ranks 1 --test-data no.csv", "no.csv: "],
  [
    "--seed 2147483647 --seeds 2",
    "--seed: expected the last of 2 seeds to be at most 2147483647, got 2147483648.",
  ],
])(
  "refuses %s before anything is trained",
  async (flags, message) => {
    const { code, stderr } = await compare(`--output refused ${flags}`);
    expect(code).toBeGreaterThan(0);
    expect(stderr).toContain(`lowrank: ${message}`);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(readdirSync(root)).not.toContain("refused");
  },
  TIMEOUT_MS,
);

it(
  "refuses a directory that holds something else",
  async () => {
    mkdirSync(join(root, "taken"));
    writeFileSync(join(root, "taken/notes.txt"), "mine");
    const { code, stderr } = await compare("--output taken --ranks 1");
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: "lowrank: taken: the directory exists and holds no comparison. Choose another one.\n",
    });
    expect(readdirSync(join(root, "taken"))).toEqual(["notes.txt"]);
  },
  TIMEOUT_MS,
);

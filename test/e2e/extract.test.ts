/** @file lowrank extract and resize on a tiny model that the command line fine-tuned: what they print and write, and that the
 * metrics are those of what was trained and of its approximation. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { run } from "../../src/cli/run.ts";
import type { ExtractReport } from "../../src/delta/extract.ts";
import type { ResizeReport } from "../../src/delta/resize.ts";
import { Trainer } from "../../src/train/trainer.ts";
import { sentimentRows, writeTinyModel } from "../tiny-model.ts";

let root: string;
let base: string;
let data: string;
const trained = { delta: "", model: "" };
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "extract-cli-"));
  base = await writeTinyModel(join(root, "base"), { family: "bert" });
  data = join(root, "data.csv");
  const rows = sentimentRows(60).map(({ text, label }) => `${text},${label}`);
  writeFileSync(data, `text,label\n${rows.join("\n")}\n`);
  for (const save of ["delta", "model"] as const) {
    trained[save] = join(root, save);
    const trainer = await Trainer.create({
      model: base,
      data,
      output: trained[save],
      method: "full",
      save,
      epochs: 8,
      learningRate: 0.005,
      threads: 1,
    });
    await trainer.train();
    await trainer.close();
  }
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Run a command; returns its exit code and what it wrote. */
async function lowrank(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const [written, noted]: [string[], string[]] = [[], []];
  const out = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    written.push(String(text));
    return true;
  });
  const err = vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    noted.push(String(text));
    return true;
  });
  try {
    return { code: await run(args), out: written.join(""), err: noted.join("") };
  } finally {
    out.mockRestore();
    err.mockRestore();
  }
}

type WithMetrics = ExtractReport & {
  readonly metrics: { readonly before: Metrics; readonly after: Metrics };
};
type Metrics = Readonly<Record<string, number>>;

describe("lowrank extract", () => {
  test.each(["delta", "model"] as const)(
    "of a trained %s at full energy has its metrics, with the base that it names",
    async (kind) => {
      const output = join(root, `full-${kind}`);
      const named = kind === "model" ? ["--base", base] : [];
      const args = ["--from", trained[kind], ...named, "--energy", "1", "--output", output];
      const { code, out, err } = await lowrank("extract", ...args, "--data", data, "--json");
      expect(err).toBe("");
      expect(code).toBe(0);
      const { metrics, kind: reported, matrices } = JSON.parse(out) as WithMetrics;
      expect(reported).toBe(kind);
      expect(matrices.length).toBeGreaterThan(10);
      expect(metrics.before["accuracy"]).toBeGreaterThan(0.8);
      expect(metrics.after["accuracy"]).toBe(metrics.before["accuracy"]);
      expect(metrics.after["loss"]).toBeCloseTo(metrics.before["loss"]!, 4);
    },
  );

  test("of a model from elsewhere has its labels", async () => {
    const output = join(root, "foreign");
    const foreign = join(root, "model");
    rmSync(join(foreign, "lowrank.json"));
    const args = ["--from", foreign, "--base", base, "--rank", "4", "--output", output];
    expect((await lowrank("extract", ...args)).code).toBe(0);
    const { out } = await lowrank("evaluate", "--adapter", output, "--data", data, "--json");
    expect(JSON.parse(out)).toMatchObject({ details: { labels: ["bad", "good"] } });
    const error = await lowrank("extract", "--from", foreign, "--rank", "4", "--output", "x");
    expect(error).toMatchObject({
      code: 2,
      err: `lowrank: --base is missing: ${foreign} does not say from which model it was trained. Pass that model's directory.\n`,
    });
  });

  test("prints a row for each matrix, what is stored, and both metrics", async () => {
    const output = join(root, "printed");
    const args = ["--from", trained.delta, "--base", base, "--rank", "2", "--output", output];
    const { code, out } = await lowrank("extract", ...args, "--data", data);
    expect(code).toBe(0);
    expect(out).toMatch(
      /^matrix +shape +rank +energy +error +relative +largest singular values\n.*\nbert\.embeddings\.position_embeddings +32 x 16 +2 +[\d.]+ % +\S+ +[\d.]+ % +\S+ \S+\n/,
    );
    expect(out).toMatch(
      /\nadapter +\S+printed \([\d.]+ kB\)\nstored change +\S+delta \([\d.]+ kB\)\nbase +\S+\n/,
    );
    expect(out).toMatch(/\nmatrices +16, rank 2, [\d.]+ % of their energy\n/);
    expect(out).toMatch(/\nmetric +trained +approximated\nloss +\d.\d{4} +\d.\d{4}\naccuracy /);
  });

  test("says on one line what is wrong, and writes nothing", async () => {
    const output = join(root, "nothing");
    const before = readdirSync(root);
    const from = ["extract", "--from", trained.delta, "--output", output];
    const cases: [string[], number, string][] = [
      [
        [],
        2,
        "--rank and --energy: expected one of the two, got neither. Pass for example --rank 8, or --energy 0.95.",
      ],
      [
        ["--rank", "2", "--energy", "0.5"],
        2,
        "--rank and --energy: expected one of the two, got both.",
      ],
      [["--energy", "0"], 2, "--energy: expected a number above 0 and at most 1, got 0."],
      [["--energy", "1.5"], 2, "--energy: expected a number above 0 and at most 1, got 1.5."],
      [["--rank", "0"], 2, "--rank: expected a whole number above 0, got 0."],
      [["--rank", "17"], 2, "--rank: expected at most the smaller side of each matrix, got 17:\n"],
      [["--rank", "2", "--data", "none.csv"], 1, "none.csv"],
      [["--rank", "2", "--base", root], 1, "config.json"],
    ];
    for (const [flags, expected, message] of cases) {
      const { code, out, err } = await lowrank(...from, ...flags);
      expect([code, out]).toEqual([expected, ""]);
      expect(err).toContain(message);
    }
    expect(readdirSync(root)).toEqual(before);
  });
});

const bytes = (directory: string): number =>
  readFileSync(join(directory, "adapter_model.safetensors")).length;

describe("lowrank resize", () => {
  test("shrinks an adapter, which predicts then", async () => {
    const [adapter, output] = [join(root, "printed"), join(root, "smaller")];
    const { code, out } = await lowrank(
      "resize",
      "--adapter",
      adapter,
      "--rank",
      "1",
      "--output",
      output,
    );
    expect(code).toBe(0);
    expect(out).toMatch(/\nmatrices +16, rank 1, [\d.]+ % of their energy, before rank 2\n$/);
    expect(bytes(output)).toBeLessThan(bytes(adapter));
    const { out: evaluated } = await lowrank(
      "evaluate",
      "--adapter",
      output,
      "--data",
      data,
      "--json",
    );
    expect(JSON.parse(evaluated)).toMatchObject({ task: "sequence-classification" });
  });

  test("prints its report as JSON; refuses a higher rank", async () => {
    const adapter = join(root, "printed");
    const output = join(root, "json");
    const energy = ["--energy", "0.7", "--output", output, "--json"];
    const { out } = await lowrank("resize", "--adapter", adapter, ...energy);
    const { matrices, ranksBefore } = JSON.parse(out) as ResizeReport;
    expect(matrices.every(({ energyKept }) => energyKept >= 0.7)).toBe(true);
    expect(new Set(ranksBefore)).toEqual(new Set([2]));
    const higher = ["--rank", "9", "--output", join(root, "higher")];
    const error = await lowrank("resize", "--adapter", adapter, ...higher);
    expect(error.code).toBe(2);
    expect(error.err).toContain("--rank: expected at most 2, the rank of");
    expect(existsSync(join(root, "higher"))).toBe(false);
  });
});

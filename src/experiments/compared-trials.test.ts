import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runComparedTrials, type ComparedTrialsOptions } from "./compared-trials.ts";
import { planTrials, variantsOf, type PlanOptions } from "./plan.ts";
import { collect } from "./comparison.ts";
import { mainTable, resultsCsv, trialsCsv } from "./report/tables.ts";
import type { MatrixSpectrum } from "./spectra.ts";

/** Stands for the program: `train` has an accuracy that depends on rank and seed alone, and fails where the learning rate is too
 * high; `evaluate` measures a tenth more. */
const PROGRAM = `
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
const after = (flag) => process.argv[process.argv.indexOf(flag) + 1];
const fail = (message) => { console.error("lowrank: " + message); process.exit(1); };
if (process.argv[2] === "evaluate") {
  const { accuracy } = JSON.parse(readFileSync(after("--adapter") + "/stand-in.json", "utf8"));
  if (after("--data") === "broken.csv") fail("broken.csv: no such file.");
  console.log(JSON.stringify({ metrics: { loss: accuracy === 0.25 ? NaN : 1, accuracy: accuracy + 0.1 } }));
} else {
  const config = JSON.parse(readFileSync(after("--config"), "utf8"));
  if (config.learningRate > 0.5) fail("step 1: expected finite numbers, but the loss is NaN.");
  const { method, r, seed, output } = config;
  const accuracy = method === "full" ? 0.5 + seed / 100 : r / 8;
  mkdirSync(output, { recursive: true });
  writeFileSync(output + "/stand-in.json", JSON.stringify({ accuracy }));
  const events = [1, 2].map((step) => ({ type: "step", step, loss: seed / step }));
  writeFileSync(output + "/metrics.jsonl", events.map((event) => JSON.stringify(event)).join("\\n"));
  const result = { seconds: 2, metrics: { scalars: { loss: 1, accuracy } } };
  const [trainableParameters, storedBytes] = method === "full" ? [100, 400] : [10 * r, 40 * r];
  console.log(JSON.stringify({ trainableParameters, storedBytes, peakMemoryBytes: 9, result }));
}
`;

const plan: PlanOptions = {
  methods: ["full", "lora"],
  ranks: [2, 4],
  seeds: [7, 9],
  base: {
    model: "m",
    epochs: 3,
    validationSplit: 0.1,
    loraAlpha: 16,
    targetModules: "all-linear",
    loraPlusLrRatio: 4,
    trainLastLayers: 2,
  },
  learningRates: { full: 1e-5, lora: 1e-4 },
};

describe("the plan", () => {
  it("has full fine-tuning once for each seed, LoRA once for each rank and seed", () => {
    const trials = planTrials(plan);
    expect(trials.map(({ id }) => id)).toEqual([
      "full-seed-7",
      "lora-r2-seed-7",
      "lora-r4-seed-7",
      "full-seed-9",
      "lora-r2-seed-9",
      "lora-r4-seed-9",
    ]);
    expect(planTrials({ ...plan, methods: ["lora"], seeds: [1] })).toHaveLength(2);
    expect(variantsOf({ methods: ["full"], ranks: [1, 2, 3] })).toHaveLength(1);
  });

  it("gives each method its own options, and all trials of a seed the same split of the data", () => {
    const [full, lora] = planTrials(plan);
    expect(full!.options).toEqual({
      model: "m",
      epochs: 3,
      validationSplit: 0.1,
      trainLastLayers: 2,
      method: "full",
      save: "delta",
      learningRate: 1e-5,
      seed: 7,
    });
    expect(lora!.options).toEqual({
      model: "m",
      epochs: 3,
      validationSplit: 0.1,
      loraAlpha: 16,
      targetModules: "all-linear",
      loraPlusLrRatio: 4,
      method: "lora",
      r: 2,
      learningRate: 1e-4,
      seed: 7,
    });
  });
});

/** A change whose squares are 3/4 in the first rank for full fine-tuning; of one rank for LoRA. */
function spectraOf(directory: string): Promise<readonly MatrixSpectrum[]> {
  const values = directory.includes("full") ? [Math.sqrt(12), 1, 1, 1, 1] : [2];
  const matrix = (name: string): MatrixSpectrum => ({ name, shape: [5, 6], values });
  return Promise.resolve(
    directory.includes("full")
      ? [matrix("a"), matrix("b"), matrix("c")]
      : [matrix("c"), matrix("a")],
  );
}

let parent: string;
let options: ComparedTrialsOptions;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "compare-"));
  const program = join(parent, "program.mjs");
  await writeFile(program, PROGRAM);
  options = {
    ...plan,
    directory: join(parent, "out"),
    program: [process.execPath, program],
    spectraOf,
    parallel: 2,
  };
});
afterEach(() => rm(parent, { recursive: true }));

/** How many trials were trained, and all that are in the result. */
async function run(change: Partial<PlanOptions>): Promise<[trained: number, ids: string[]]> {
  let trained = 0;
  const onResult = (_: unknown, isNew: boolean): void => void (trained += Number(isNew));
  const trials = await runComparedTrials({ ...options, ...change, onResult });
  return [trained, trials.map(({ id }) => id)];
}

describe("a comparison", () => {
  it("measures every trial, and puts those of a method together", async () => {
    const trials = await runComparedTrials({ ...options, testArguments: ["--data", "test.csv"] });
    const comparison = await collect(options.directory, trials);
    const [full, two, four] = comparison.rows;
    expect(full!.metrics["accuracy"]).toMatchObject({ mean: expect.closeTo(0.68, 12) });
    // Of 0.67 and 0.69: 0.01·√2.
    expect(full!.metrics["accuracy"]!.deviation).toBeCloseTo(0.01 * Math.SQRT2, 12);
    expect(full!.validationMetrics["accuracy"]!.mean).toBeCloseTo(0.58, 12);
    expect(full).toMatchObject({
      trials: 2,
      failed: 0,
      trainableParameters: 100,
      storedBytes: 400,
    });
    expect(four!.metrics["accuracy"]).toMatchObject({ mean: 0.6, deviation: 0 });
    // A metric that was no number is one again after it was stored.
    expect(two!.metrics["loss"]!.mean).toBe(NaN);
    expect(full!.seconds.mean).toBe(2);

    expect(comparison.matrices.map(({ name }) => name)).toEqual(["a", "c"]);
    expect(comparison.energyRanks).toEqual([1, 2, 4]);
    expect(two!.fullEnergyWithinRank.mean).toBeCloseTo(13 / 16, 12);
    expect(four!.fullEnergyWithinRank.mean).toBeCloseTo(15 / 16, 12);
    expect(full!.fullEnergyWithinRank.values).toEqual([]);
    expect(full!.energyWithin.map(({ mean }) => mean)).toEqual(
      [12 / 16, 13 / 16, 15 / 16].map((x) => expect.closeTo(x, 12) as number),
    );
    expect([full, two].map((row) => row!.rankOfHighShare.mean)).toEqual([4, 1]);
    expect(comparison.matrices[0]!.full!.norm).toBeCloseTo(4, 12);
    expect(comparison.series[0]!.training).toEqual([
      { step: 1, loss: 8 },
      { step: 2, loss: 4 },
    ]);
  });

  it("makes a table and CSV files of it", async () => {
    const trials = await runComparedTrials(options);
    const comparison = await collect(options.directory, trials);
    expect(mainTable(comparison, "accuracy")).toEqual({
      columns: [
        "method",
        "accuracy",
        "loss",
        "trained",
        "stored",
        "time",
        "memory",
        "of full's ΔW",
        "rank of 90 %",
      ],
      rows: [
        [
          "full fine-tuning",
          "0.5800 ± 0.0141",
          "1.0000 ± 0.0000",
          "100",
          "400 B",
          "0:02",
          "9 B",
          "–",
          "4 ± 0",
        ],
        [
          "LoRA, rank 2",
          "0.2500 ± 0.0000",
          "1.0000 ± 0.0000",
          "20",
          "80 B",
          "0:02",
          "9 B",
          "81.3 ± 0.0 %",
          "1 ± 0",
        ],
        [
          "LoRA, rank 4",
          "0.5000 ± 0.0000",
          "1.0000 ± 0.0000",
          "40",
          "160 B",
          "0:02",
          "9 B",
          "93.8 ± 0.0 %",
          "1 ± 0",
        ],
      ],
    });
    const [head, first] = resultsCsv(comparison, "accuracy").split("\n");
    expect(head).toMatch(/^method,rank,runs,failed,accuracy,accuracy_sd,loss,loss_sd,/);
    expect(first).toMatch(/^full,,2,0,0\.58\d*,0\.01414\d*,1,0,/);
    const lines = trialsCsv(trials).trimEnd().split("\n");
    expect(lines).toHaveLength(7);
    expect(lines[0]).toBe(
      "id,method,rank,seed,error,trainable_parameters,stored_bytes,seconds,peak_memory_bytes,validation_loss,validation_accuracy",
    );
    expect(lines[2]).toBe("lora-r2-seed-7,lora,2,7,,20,80,2,9,1,0.25");
  });

  it("names trials that failed, and counts the others", async () => {
    const trials = await runComparedTrials({
      ...options,
      learningRates: { full: 0.9, lora: 1e-4 },
    });
    const comparison = await collect(options.directory, trials);
    expect(comparison.failures).toEqual(
      ["full-seed-7", "full-seed-9"].map((id) => ({
        id,
        error: "step 1: expected finite numbers, but the loss is NaN.",
      })),
    );
    const { columns, rows } = mainTable(comparison, "accuracy");
    expect(columns.slice(0, 3)).toEqual(["method", "runs", "accuracy"]);
    expect(rows[0]!.slice(0, 5)).toEqual(["full fine-tuning", "0 of 2", "–", "–", "–"]);
    expect(rows[1]!.slice(0, 3)).toEqual(["LoRA, rank 2", "2 of 2", "0.2500 ± 0.0000"]);
    expect(trialsCsv(trials)).toContain(
      '\nfull-seed-7,full,,7,"step 1: expected finite numbers, but the loss is NaN.",,,,,,\n',
    );
  });

  it("has a failed trial where the test data cannot be used", async () => {
    const [first] = await runComparedTrials({
      ...options,
      testArguments: ["--data", "broken.csv"],
    });
    expect(first!.error).toBe("measuring it on the test data: broken.csv: no such file.");
  });

  it("goes on where it was interrupted, and only with the same options of training", async () => {
    const controller = new AbortController();
    const onResult = (): void => controller.abort();
    await expect(
      runComparedTrials({ ...options, parallel: 1, onResult, signal: controller.signal }),
    ).rejects.toThrow(`${options.directory}: interrupted. The same command goes on`);
    const again: boolean[] = [];
    const trials = await runComparedTrials({
      ...options,
      onResult: (_, isNew) => again.push(isNew),
    });
    expect(again.filter(Boolean)).toHaveLength(5);
    expect(trials).toHaveLength(6);
    await expect(
      runComparedTrials({ ...options, ranks: [2], base: { ...plan.base, epochs: 5 } }),
    ).rejects.toThrow(
      `${options.directory}: holds another comparison (compare.json): epochs was 3, is 5. Repeat`,
    );
    const result = await readFile(join(options.directory, "full-seed-7", "log.txt"), "utf8");
    expect(result).toBe("");
  });

  it("takes further methods, ranks and seeds, and trains only what is new", async () => {
    const small = { methods: ["lora"], ranks: [2], seeds: [7] } as const;
    expect(await run(small)).toEqual([1, ["lora-r2-seed-7"]]);
    const large = await run({});
    expect(large).toEqual([5, planTrials(plan).map(({ id }) => id)]);
    expect(await run({})).toEqual([0, large[1]]);
    // What is not asked for stays, and is not in the result.
    expect(await run(small)).toEqual([0, ["lora-r2-seed-7"]]);
    expect(await run({})).toEqual([0, large[1]]);
  });

  it("says which file is damaged, and what to do", async () => {
    await runComparedTrials(options);
    const damaged = join(options.directory, "lora-r2-seed-7", "result.json");
    await writeFile(damaged, JSON.stringify({ seconds: "many" }));
    await expect(runComparedTrials(options)).rejects.toThrow(
      /lora-r2-seed-7\/result\.json: metrics: .*; seconds: .*\. Remove the directory .*lora-r2-seed-7 to run the trial again\./,
    );
    await rm(join(options.directory, "lora-r2-seed-7"), { recursive: true });
    const trials = await runComparedTrials(options);
    const spectra = join(options.directory, "full-seed-9", "spectra.json");
    await writeFile(spectra, "[1]");
    await expect(collect(options.directory, trials)).rejects.toThrow(
      /full-seed-9\/spectra\.json: 0: .*\. Remove the directory .*full-seed-9 to run/,
    );
    await writeFile(join(options.directory, "compare.json"), "[]");
    await expect(runComparedTrials(options)).rejects.toThrow(
      "compare.json: Invalid input: expected object, received array. Remove the directory",
    );
  });

  it("needs a program that prints results", async () => {
    const program = [process.execPath, "-p", "1"] as const;
    await expect(runComparedTrials({ ...options, program })).rejects.toThrow(
      "the process ended without the result that --json prints: ",
    );
  });

  it("leaves a directory alone that holds something else", async () => {
    await mkdir(options.directory);
    await writeFile(join(options.directory, "notes.txt"), "mine");
    await expect(runComparedTrials(options)).rejects.toThrow(
      `${options.directory}: the directory exists and holds no comparison. Choose another one.`,
    );
  });
});

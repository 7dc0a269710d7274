import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BEST_FILE, roundsOf, runSweptTrials, type SweptTrialsOptions } from "./swept-trials.ts";

/** Stands for `lowrank train`: the loss is least at learning rate 1e-3, and falls with the epochs. */
const TRAINER = `
import { readFileSync } from "node:fs";
const config = JSON.parse(readFileSync(process.argv[process.argv.indexOf("--config") + 1], "utf8"));
if (config.learningRate > 0.5) {
  console.error("lowrank: step 1: expected finite numbers, but the loss is NaN.");
  process.exit(1);
}
const loss = Math.abs(Math.log10(config.learningRate) + 3) + 1 / config.epochs;
const result = { seconds: 1, metrics: { scalars: { loss, accuracy: 1 - loss / 10 } } };
console.log(JSON.stringify({ trainableParameters: config.r ?? 0, storedBytes: 8, peakMemoryBytes: 9, result }));
`;

let parent: string;
let options: SweptTrialsOptions;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "sweep-"));
  const trainer = join(parent, "train.mjs");
  await writeFile(trainer, TRAINER);
  options = {
    directory: join(parent, "out"),
    command: [process.execPath, trainer],
    strategy: "grid",
    configurations: [1e-4, 1e-3, 0.9].map((learningRate) => ({ learningRate, r: 4 })),
    base: { epochs: 9, model: "m" },
    metric: "loss",
    lowerIsBetter: true,
    parallel: 2,
  };
});
afterEach(() => rm(parent, { recursive: true }));

describe("the trials of a sweep", () => {
  it("ranks the trials of a grid and writes the best options", async () => {
    const { results, best, trials } = await runSweptTrials(options);
    expect(trials).toBe(3);
    expect(results.map(({ options: { learningRate } }) => learningRate)).toEqual([1e-3, 1e-4, 0.9]);
    expect(results[0]).toMatchObject({
      trainableParameters: 4,
      storedBytes: 8,
      peakMemoryBytes: 9,
    });
    expect(results[2]!.error).toBe("step 1: expected finite numbers, but the loss is NaN.");
    expect(best).toEqual({ epochs: 9, model: "m", learningRate: 1e-3, r: 4 });
    const stored = await readFile(join(options.directory, BEST_FILE), "utf8");
    expect(JSON.parse(stored)).toEqual(best);
  });

  it("chooses by another metric, and names those that there are", async () => {
    const other = { ...options, metric: "accuracy" };
    const { results } = await runSweptTrials({ ...other, lowerIsBetter: false });
    expect(results[0]!.options["learningRate"]).toBe(1e-3);
    const reversed = await runSweptTrials({ ...other, lowerIsBetter: true });
    expect(reversed.results[0]!.options["learningRate"]).toBe(1e-4);
    // Also where there is only one to choose from.
    const configurations = options.configurations.slice(0, 1);
    const directory = join(parent, "single");
    await expect(
      runSweptTrials({ ...options, directory, configurations, metric: "f1" }),
    ).rejects.toThrow('metric: there is no metric "f1". Metrics: loss, accuracy.');
  });

  it("goes on where it was interrupted, and only with the same sweep", async () => {
    const controller = new AbortController();
    const onResult = (): void => controller.abort();
    await expect(
      runSweptTrials({ ...options, parallel: 1, onResult, signal: controller.signal }),
    ).rejects.toThrow("The same command goes on where it stopped.");
    const again: boolean[] = [];
    await runSweptTrials({ ...options, onResult: (_, isNew) => again.push(isNew) });
    expect(again.toSorted()).toEqual([false, true, true]);
    await expect(runSweptTrials({ ...options, base: { epochs: 3 } })).rejects.toThrow(
      `${options.directory}: holds another sweep (sweep.json): epochs was 9, is 3; model was "m", is not given. ` +
        "Repeat its command to go on with it, or choose another directory.",
    );
  });

  it("names the first of many differences", async () => {
    await runSweptTrials(options);
    const base = { epochs: 9, model: "m", a: 1, b: 2, c: 3, d: 4, e: 5 };
    await expect(runSweptTrials({ ...options, base })).rejects.toThrow(
      "c was not given, is 3; d was not given, is 4 and 1 more. Repeat its command",
    );
  });

  it("halves: many configurations for few epochs, the better ones for more", async () => {
    const learningRates = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1];
    const configurations = learningRates.map((learningRate) => ({ learningRate }));
    const epochs: number[] = [];
    const { best, trials, results } = await runSweptTrials({
      ...options,
      strategy: "halving",
      configurations,
      onResult: (result) => epochs.push(result.options["epochs"] as number),
    });
    expect(trials).toBe(9 + 3 + 1);
    expect([1, 3, 9].map((one) => epochs.filter((value) => value === one).length)).toEqual([
      9, 3, 1,
    ]);
    expect(results).toHaveLength(1);
    expect(best!["learningRate"]).toBe(1e-3);
  });

  it("halves the steps where there is a number of them, and tells the rounds beforehand", async () => {
    const steps: unknown[] = [];
    await runSweptTrials({
      ...options,
      strategy: "halving",
      base: { epochs: 1, steps: 20 },
      onResult: (result) => steps.push(result.options["steps"]),
    });
    expect(steps).toEqual([7, 7, 7, 20]);
    expect(roundsOf("halving", 10)).toEqual([10, 4, 2, 1]);
    expect(roundsOf("random", 10)).toEqual([10]);
  });

  it("begins in an empty directory, and names a place where it cannot write", async () => {
    await mkdir(options.directory);
    expect((await runSweptTrials(options)).trials).toBe(3);
    const file = join(parent, "file");
    await writeFile(file, "");
    await expect(runSweptTrials({ ...options, directory: join(file, "in") })).rejects.toThrow(
      `${file}/in: cannot write the sweep into it, a part of the path is a file`,
    );
  });
});

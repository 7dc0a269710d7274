import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { trainedTensors, writeRandomAdapter, writeTrainedDelta } from "../../test/tiny-trained.ts";
import { writeTinyModel } from "../../test/tiny-model.ts";
import { jointEnergyWithin, medianSpectrum, rankOfShare, trainedSpectra } from "./spectra.ts";

const spectrum = (...values: number[]) => ({ name: "w", shape: [9, 9] as const, values });

describe("energy of several changes", () => {
  const both = [spectrum(3, 1), spectrum(4, 2, 1)]; // squares: 9 1, 16 4 1

  it("is shared by the largest singular values of each", () => {
    expect(jointEnergyWithin(both, 1)).toBeCloseTo(25 / 31, 12);
    expect(jointEnergyWithin(both, 2)).toBeCloseTo(30 / 31, 12);
    expect(jointEnergyWithin(both, 9)).toBe(1);
    expect(jointEnergyWithin([], 1)).toBe(NaN);
  });

  it("needs a rank for a share", () => {
    expect([0.5, 0.9, 1].map((share) => rankOfShare(both, share))).toEqual([1, 2, 3]);
    expect(rankOfShare([spectrum(1, 1, 1, 1)], 0.75)).toBe(3);
    expect(rankOfShare([], 0.9)).toBe(NaN);
  });
});

it("takes medians where lists have that many values", () => {
  expect(medianSpectrum([[5, 3, 1], [4], [9, 2]])).toEqual([5, 2.5, 1]);
  expect(medianSpectrum([])).toEqual([]);
});

describe("spectra of trained directories", () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "spectra-"));
    const base = await writeTinyModel(join(root, "base"), { family: "bert" });
    await writeTrainedDelta(join(root, "delta"), await trainedTensors(base));
    await writeRandomAdapter(join(root, "adapter"), base, { r: 2, targetModules: ["query"] });
  });
  afterAll(() => rm(root, { recursive: true }));

  it("are of every linear layer of a stored change, complete", async () => {
    const spectra = await trainedSpectra(join(root, "delta"), join(root, "base"));
    expect(spectra.map(({ name }) => name)).toContain(
      "bert.encoder.layer.0.attention.self.query.weight",
    );
    expect(spectra.some(({ name }) => name.includes("embeddings"))).toBe(false);
    for (const { shape, values } of spectra) {
      expect(values).toHaveLength(Math.min(...shape));
      expect(values.toSorted((a, b) => b - a)).toEqual(values);
      // Random numbers of deviation 0.01: ‖ΔW‖² is about 1e-4 for each of them, give or take a third.
      const energy = values.reduce((sum, value) => sum + value ** 2, 0) / (shape[0] * shape[1]);
      expect(Math.abs(energy / 1e-4 - 1)).toBeLessThan(0.4);
    }
  });

  it("have as many values as an adapter's rank, under the same names", async () => {
    const names = ["bert.encoder.layer.0.attention.self.query.weight"];
    const [adapter, delta] = await Promise.all(
      ["adapter", "delta"].map((from) =>
        trainedSpectra(join(root, from), join(root, "base"), names),
      ),
    );
    expect(adapter!.map(({ name, values }) => [name, values.length])).toEqual([[names[0], 2]]);
    expect(delta!.map(({ name, shape }) => [name, shape])).toEqual([
      [names[0], adapter![0]!.shape],
    ]);
  });
});

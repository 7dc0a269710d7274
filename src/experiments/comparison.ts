/** @file What a comparison came to: its trials put together by variant, as numbers with their spread, as JSON and as CSV. */
import { join } from "node:path";
import { z } from "zod";
import { readJsonAs } from "../io/files.ts";
import type { ComparedTrial } from "./compared-trials.ts";
import type { Variant } from "./plan.ts";
import { meanCurve, readCurves, type CurvePoint } from "./curves.ts";
import {
  jointEnergyWithin,
  medianSpectrum,
  rankOfShare,
  SPECTRA_FILE,
  spectrumSchema,
  type MatrixSpectrum,
} from "./spectra.ts";
import { spreadOf, type Spread } from "./statistics.ts";
import { ADAPTER_DIRECTORY, runAgain } from "./trials.ts";

/** A variant over its seeds; what failed counts in `failed` only. */
export interface ComparisonRow {
  readonly variant: Variant;
  readonly trials: number;
  readonly failed: number;
  /** On the test data where there is some, else on the validation data. */
  readonly metrics: Readonly<Record<string, Spread>>;
  readonly validationMetrics: Readonly<Record<string, Spread>>;
  readonly trainableParameters: number;
  readonly storedBytes: number;
  readonly seconds: Spread;
  readonly peakMemoryBytes: Spread;
  /** Share of full fine-tuning's change that a matrix of this rank holds at best, over the seeds; of LoRA only. */
  readonly fullEnergyWithinRank: Spread;
  /** Least rank that holds `HIGH_SHARE` of its own change. */
  readonly rankOfHighShare: Spread;
  /** Share of its own change within each of the ranks `energyRanks`. */
  readonly energyWithin: readonly Spread[];
}

/** How much of a change a rank is to hold that says how many ranks the change has. */
export const HIGH_SHARE = 0.9;

/** A variant's curves and spectra, for plots. */
export interface ComparisonSeries {
  readonly variant: Variant;
  /** Means over the seeds. */
  readonly training: readonly CurvePoint[];
  readonly validation: readonly CurvePoint[];
  /** Singular values of each compared matrix, in the order of `matrices`: medians over the seeds. */
  readonly spectra: readonly (readonly number[])[];
}

export interface Comparison {
  readonly rows: readonly ComparisonRow[];
  readonly series: readonly ComparisonSeries[];
  readonly failures: readonly { readonly id: string; readonly error: string }[];
  /** Matrices that every variant changed, by name: energies and spectra are of these. */
  readonly matrices: readonly ComparedMatrix[];
  /** 1, 2, 4, … up to the smallest of those matrices. */
  readonly energyRanks: readonly number[];
}

export interface ComparedMatrix {
  readonly name: string;
  readonly shape: readonly [number, number];
  /** Of full fine-tuning, mean over the seeds: ‖ΔW‖, and the shares of its energy within `energyRanks`. */
  readonly full: { readonly norm: number; readonly energyWithin: readonly number[] } | undefined;
}

interface Loaded {
  readonly trial: ComparedTrial;
  readonly spectra: readonly MatrixSpectrum[];
  readonly curves: Awaited<ReturnType<typeof readCurves>>;
}

/** Put the trials of a directory together. Reads their spectra and curves. */
export async function collect(
  directory: string,
  trials: readonly ComparedTrial[],
): Promise<Comparison> {
  const failures = trials.flatMap(({ id, error }) => (error === undefined ? [] : [{ id, error }]));
  const done = trials.filter(({ error }) => error === undefined);
  const stored = await Promise.all(done.map(({ id }) => readSpectra(join(directory, id))));
  const names = commonMatrices(stored);
  const loaded = await Promise.all(
    done.map(async (trial, index): Promise<Loaded> => {
      const curves = await readCurves(join(directory, trial.id, ADAPTER_DIRECTORY));
      return { trial, spectra: pick(stored[index]!, names), curves };
    }),
  );
  const shapes = loaded[0]?.spectra.map(({ shape }) => shape) ?? [];
  const energyRanks = powersOfTwo(Math.min(...shapes.flat()));
  const variants = [...new Map(trials.map(({ variant }) => [variant.id, variant])).values()];
  const of = ({ id }: Variant): Loaded[] => loaded.filter(({ trial }) => trial.variant.id === id);
  const full = loaded.filter(({ trial }) => trial.variant.method === "full");
  return {
    rows: variants.map((variant) => {
      const planned = trials.filter((trial) => trial.variant.id === variant.id).length;
      return rowOf(variant, of(variant), { planned, full, energyRanks });
    }),
    series: variants.map((variant) => seriesOf(variant, of(variant))),
    failures,
    matrices: names.map((name, index) => ({
      name,
      shape: shapes[index]!,
      full: full.length > 0 ? changeOf(full, index, energyRanks) : undefined,
    })),
    energyRanks,
  };
}

async function readSpectra(directory: string): Promise<MatrixSpectrum[]> {
  const file = join(directory, SPECTRA_FILE);
  const remedy = runAgain(directory);
  return readJsonAs(file, "list of spectra", { schema: z.array(spectrumSchema), remedy });
}

/** Names that all trials have, in the order of the first. */
function commonMatrices(stored: readonly (readonly MatrixSpectrum[])[]): string[] {
  const [first, ...others] = stored.map((spectra) => spectra.map(({ name }) => name));
  const sets = others.map((names) => new Set(names));
  return (first ?? []).filter((name) => sets.every((names) => names.has(name)));
}

function pick(spectra: readonly MatrixSpectrum[], names: readonly string[]): MatrixSpectrum[] {
  const byName = new Map(spectra.map((spectrum) => [spectrum.name, spectrum]));
  return names.map((name) => byName.get(name)!);
}

function powersOfTwo(limit: number): number[] {
  if (!Number.isFinite(limit)) return [];
  return Array.from({ length: Math.floor(Math.log2(limit)) + 1 }, (_, index) => 2 ** index);
}

interface RowContext {
  readonly planned: number;
  readonly full: readonly Loaded[];
  readonly energyRanks: readonly number[];
}

function rowOf(
  variant: Variant,
  loaded: readonly Loaded[],
  { planned, full, energyRanks }: RowContext,
): ComparisonRow {
  const trials = loaded.map(({ trial }) => trial);
  const measured = trials.map(({ metrics, testMetrics }) => testMetrics ?? metrics);
  const { rank } = variant;
  return {
    variant,
    trials: planned,
    failed: planned - trials.length,
    metrics: spreads(measured),
    validationMetrics: spreads(trials.map(({ metrics }) => metrics)),
    trainableParameters: trials[0]?.trainableParameters ?? NaN,
    storedBytes: trials[0]?.storedBytes ?? NaN,
    seconds: spreadOf(trials.map(({ seconds }) => seconds)),
    peakMemoryBytes: spreadOf(trials.map(({ peakMemoryBytes }) => peakMemoryBytes)),
    fullEnergyWithinRank: spreadOf(
      rank === undefined ? [] : full.map(({ spectra }) => jointEnergyWithin(spectra, rank)),
    ),
    rankOfHighShare: spreadOf(loaded.map(({ spectra }) => rankOfShare(spectra, HIGH_SHARE))),
    energyWithin: energyRanks.map((one) =>
      spreadOf(loaded.map(({ spectra }) => jointEnergyWithin(spectra, one))),
    ),
  };
}

/** Each metric over the trials. */
function spreads(metrics: readonly Readonly<Record<string, number>>[]): Record<string, Spread> {
  const names = [...new Set(metrics.flatMap((one) => Object.keys(one)))];
  return Object.fromEntries(
    names.map((name) => [name, spreadOf(metrics.map((one) => one[name] ?? NaN))]),
  );
}

function seriesOf(variant: Variant, loaded: readonly Loaded[]): ComparisonSeries {
  const [first] = loaded;
  return {
    variant,
    training: meanCurve(loaded.map(({ curves }) => curves.training)),
    validation: meanCurve(loaded.map(({ curves }) => curves.validation)),
    spectra: (first?.spectra ?? []).map((_, index) =>
      medianSpectrum(loaded.map(({ spectra }) => spectra[index]!.values)),
    ),
  };
}

function changeOf(
  full: readonly Loaded[],
  index: number,
  energyRanks: readonly number[],
): NonNullable<ComparedMatrix["full"]> {
  const own = full.map(({ spectra }) => spectra[index]!);
  return {
    norm: spreadOf(own.map(({ values }) => Math.hypot(...values))).mean,
    energyWithin: energyRanks.map(
      (rank) => spreadOf(own.map((spectrum) => jointEnergyWithin([spectrum], rank))).mean,
    ),
  };
}

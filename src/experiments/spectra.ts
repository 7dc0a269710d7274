/**
 * @file Singular values of the changes that training made: how many ranks a change has, and how much of it r of them hold.
 * Energy is the square of the Frobenius norm, ‖ΔW‖² = Σ sₖ²; the best matrix of rank r holds Σ_{k≤r} sₖ² of it (Eckart and Young).
 */
import { median } from "./statistics.ts";

/** The change of one matrix. */
export interface MatrixSpectrum {
  /** Of the weight in the base model. */
  readonly name: string;
  readonly shape: readonly [number, number];
  /** The largest singular values, descending. */
  readonly values: readonly number[];
  /** ‖ΔW‖², also of the singular values that are not listed. */
  readonly energy: number;
}

/** In a trial's directory. */
export const SPECTRA_FILE = "spectra.json";

/** Share of the energy of several changes together that the best approximations of rank r hold, 0 to 1; NaN without any change. */
export function energyWithin(spectra: readonly MatrixSpectrum[], rank: number): number {
  const total = spectra.reduce((sum, { energy }) => sum + energy, 0);
  const held = spectra.reduce((sum, { values }) => sum + squares(values.slice(0, rank)), 0);
  return Math.min(1, held / total);
}

/** The least rank that holds a share of the energy of all changes together; NaN where the listed values do not reach it. */
export function rankOfShare(spectra: readonly MatrixSpectrum[], share: number): number {
  const length = Math.max(0, ...spectra.map(({ values }) => values.length));
  const total = spectra.reduce((sum, { energy }) => sum + energy, 0);
  let held = 0;
  for (let k = 0; k < length; k++) {
    for (const { values } of spectra) held += (values[k] ?? 0) ** 2;
    // Sums in another order may miss the whole by a rounding.
    if (held >= share * total * (1 - 1e-9)) return k + 1;
  }
  return NaN;
}

/** The k-th value of each list's median: of those lists that have a k-th. */
export function medianSpectrum(lists: readonly (readonly number[])[]): number[] {
  const length = Math.max(0, ...lists.map((values) => values.length));
  return Array.from({ length }, (_, k) =>
    median(lists.flatMap((values) => (k < values.length ? [values[k]!] : []))),
  );
}

const squares = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value * value, 0);

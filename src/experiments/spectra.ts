/**
 * @file Singular values of the changes that training made: how many ranks a change has, and how much of it r of them hold.
 * Energy is the square of the Frobenius norm, ‖ΔW‖² = Σ sₖ²; the best matrix of rank r holds Σ_{k≤r} sₖ² of it (Eckart and Young).
 */
import { z } from "zod";
import { openChanges } from "../delta/changes.ts";
import { singularValues } from "../delta/spectrum.ts";
import { median } from "./statistics.ts";

export const spectrumSchema = z.object({
  /** Of the weight in the base model. */
  name: z.string(),
  shape: z.tuple([z.number(), z.number()]).readonly(),
  /** Descending: all of a dense change, of an adapter's those that can differ from zero. */
  values: z.array(z.number()).readonly(),
});

/** The change of one matrix. */
export type MatrixSpectrum = Readonly<z.infer<typeof spectrumSchema>>;

/** In a trial's directory. */
export const SPECTRA_FILE = "spectra.json";

/** More digits than float32 weights have. */
const DIGITS = 9;

/**
 * The spectra of a trained directory against its base, one matrix in memory at a time.
 * @param names of the weights that are wanted; default: all but embeddings, whose decompositions take the longest
 */
export async function trainedSpectra(
  from: string,
  base: string,
  names?: readonly string[],
): Promise<MatrixSpectrum[]> {
  const spectra: MatrixSpectrum[] = [];
  const changes = await openChanges({ from, base });
  for await (const tensor of changes.tensors()) {
    if (tensor.kind !== "matrix") continue;
    const { name, layer, change } = tensor;
    if (names ? !names.includes(name) : layer === "Embedding") continue;
    const [rows, columns] = tensor.shape as [number, number];
    const values = Array.from(singularValues(change), (value) => Number(value.toPrecision(DIGITS)));
    spectra.push({ name, shape: [rows, columns], values });
  }
  return spectra;
}

/** Share of the energy of several changes together that the best approximations of rank r hold, 0 to 1; NaN without any change. */
export function jointEnergyWithin(spectra: readonly MatrixSpectrum[], rank: number): number {
  const sum = (part: (values: readonly number[]) => readonly number[]): number =>
    spectra.reduce((total, { values }) => total + squares(part(values)), 0);
  return sum((values) => values.slice(0, rank)) / sum((values) => values);
}

/** The least rank that holds a share of the energy of all changes together; NaN without any change. */
export function rankOfShare(spectra: readonly MatrixSpectrum[], share: number): number {
  const length = Math.max(0, ...spectra.map(({ values }) => values.length));
  const total = spectra.reduce((sum, { values }) => sum + squares(values), 0);
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

/** @file What is measured of a change ΔW: its norm, its singular values, the energy within a rank. */
import { LowrankError } from "../errors.ts";
import { dot, times, type Matrix } from "../linalg/matrix.ts";
import { singularValuesOf, svdOfProduct } from "../linalg/svd.ts";
import type { Product } from "../lora/host-merge.ts";
import { isProduct, type Change } from "./changes.ts";

/** The size [m, n] of a change. */
export function sizeOfChange(change: Change): { rows: number; columns: number } {
  return isProduct(change)
    ? { rows: change.left.rows, columns: change.right.columns }
    : { rows: change.rows, columns: change.columns };
}

/** Whether a product is of lower rank than its sides allow; otherwise it is better formed. */
const isThin = ({ left, right }: Product): boolean =>
  left.columns <= Math.min(left.rows, right.columns);

/** A change as a dense matrix: [m, n]. */
export function denseChange(change: Change): Matrix {
  return isProduct(change) ? times(change.left, change.right) : change;
}

/** A change in the form whose decomposition is the cheapest: a product stays one only while it is thin. */
export function cheapestForm(change: Change): Change {
  return isProduct(change) && !isThin(change) ? denseChange(change) : change;
}

/**
 * All singular values of ΔW [m, n], descending: min(m, n) of a dense matrix; of a product of inner size k the k that can
 * differ from zero, without forming it. Values below about 1e-8 of the largest are rounding.
 */
export function singularValues(change: Change): Float64Array {
  const form = cheapestForm(change);
  return isProduct(form)
    ? svdOfProduct(form.left, form.right, form.left.columns).values
    : singularValuesOf(form);
}

/** Σ sₖ² of the singular values: ‖ΔW‖², the energy of a change. */
export const energyOf = (values: Float64Array): number => dot(values, values);

/** ‖ΔW‖², without a decomposition of a dense change. */
export const energyOfChange = (change: Change): number =>
  energyOf(isProduct(change) ? singularValues(change) : change.data);

/** The share of a change's energy that its best approximation of a rank has: Σ_{k≤r} sₖ² / Σ sₖ², from all singular values,
 * descending. 1 for a change of zeros, of which nothing is lost. */
export function energyWithin(values: Float64Array, rank: number): number {
  const all = energyOf(values);
  return all === 0 ? 1 : energyOf(values.subarray(0, rank)) / all;
}

/** A sum of squares is known to about this share of it: what lies below is rounding. */
const ROUNDING = 1e-12;

/** The smallest rank, at least 1, within which a share of the energy lies. Throws LowrankError("usage") for a share outside of
 * (0, 1]. */
export function rankForEnergy(values: Float64Array, energy: number): number {
  checkEnergy(energy);
  const wanted = (energy - ROUNDING) * energyOf(values);
  let sum = 0;
  for (const [index, value] of values.entries()) {
    sum += value * value;
    if (sum >= wanted) return index + 1;
  }
  return Math.max(1, values.length);
}

export function checkEnergy(energy: number): void {
  if (energy > 0 && energy <= 1) return;
  throw new LowrankError(
    "usage",
    `energy: expected a share above 0 and at most 1, got ${energy}. Pass for example 0.95.`,
  );
}

/** @file What is told of approximations: singular values, energy kept, errors. */
import type { Approximation } from "./approximate.ts";
import { isProduct, type MatrixChange } from "./changes.ts";
import { residualNorm, type Halves } from "./factors.ts";

/** What a low rank keeps of a matrix's change. */
export interface MatrixReport {
  /** Of the weight in the base model. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly rank: number;
  /** The `rank` largest, descending. */
  readonly singularValues: readonly number[];
  /** Σ_{k≤r} sₖ² / Σ sₖ² */
  readonly energyKept: number;
  /** ‖ΔW‖ */
  readonly norm: number;
  /** ‖ΔW - B·A‖ */
  readonly error: number;
  /** ‖ΔW - B·A‖ / ‖ΔW‖ */
  readonly relativeError: number;
  /** Whether the singular values are exact, or those of a random projection, which are never larger. */
  readonly isExact: boolean;
}

/** The report of a change ΔW ≈ Lᵀ·R. */
export function reportOf(
  { name, shape, change }: Pick<MatrixChange, "name" | "shape" | "change">,
  approximation: Approximation,
  both: Halves,
): MatrixReport {
  const { rank, norm, energyKept, values, isExact } = approximation;
  const error = isProduct(change) ? tailNorm(approximation) : residualNorm(change, both);
  return {
    name,
    shape,
    rank,
    singularValues: [...values],
    energyKept,
    norm,
    error,
    relativeError: norm === 0 ? 0 : error / norm,
    isExact,
  };
}

/** √(Σ_{k>r} sₖ²) */
const tailNorm = ({ norm, energyKept }: Approximation): number =>
  norm * Math.sqrt(Math.max(0, 1 - energyKept));

/** The share of the energy of all changes together that is kept. */
export function shareKept(matrices: readonly MatrixReport[]): number {
  let [kept, all] = [0, 0];
  for (const { norm, energyKept } of matrices) {
    all += norm ** 2;
    kept += energyKept * norm ** 2;
  }
  return all === 0 ? 1 : kept / all;
}

/** "8", or "2 to 8". */
export function rankRange(ranks: readonly number[]): string {
  const [least, most] = [Math.min(...ranks), Math.max(...ranks)];
  return least === most ? `${least}` : `${least} to ${most}`;
}

/** "98.76 %" */
export const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;

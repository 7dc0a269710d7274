/** @file What is said of a few repeated measurements. */

/** Some measurements of the same thing. */
export interface Spread {
  /** NaN where there is no measurement, or one of them is NaN. */
  readonly mean: number;
  /** Sample standard deviation, with n - 1; NaN for fewer than two measurements. */
  readonly deviation: number;
  readonly values: readonly number[];
}

/** Mean m = Σx / n and sample standard deviation √(Σ(x - m)² / (n - 1)). */
export function spreadOf(values: readonly number[]): Spread {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, deviation: n < 2 ? NaN : Math.sqrt(squares / (n - 1)), values };
}

/** The middle value, or the mean of the two in the middle; NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

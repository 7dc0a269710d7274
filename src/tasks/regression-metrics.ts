/** @file Metrics of regression, as scikit-learn and SciPy define them; the targets y, the predictions p, n of
 * each. Without examples all are 0. */

/** What is measured of predicted numbers. */
export interface RegressionMetrics {
  /** Mean squared error, Σ(p - y)² / n. */
  readonly mse: number;
  /** Its square root, in the units of the targets. */
  readonly rmse: number;
  /** Mean absolute error, Σ|p - y| / n. */
  readonly mae: number;
  /** Pearson's correlation; 0 where targets or predictions are all equal, which leaves it undefined. */
  readonly pearson: number;
  /** Spearman's correlation: Pearson's of the ranks. */
  readonly spearman: number;
}

export function regressionMetrics(
  targets: readonly number[],
  predictions: readonly number[],
): RegressionMetrics {
  const errors = predictions.map((prediction, i) => prediction - targets[i]!);
  const mse = mean(errors.map((error) => error * error));
  return {
    mse,
    rmse: Math.sqrt(mse),
    mae: mean(errors.map(Math.abs)),
    pearson: pearson(targets, predictions),
    spearman: pearson(ranks(targets), ranks(predictions)),
  };
}

/** Σ(x - x̄)(y - ȳ) / √(Σ(x - x̄)²·Σ(y - ȳ)²); 0 where it is undefined. */
export function pearson(x: readonly number[], y: readonly number[]): number {
  // Not by the variance: the mean of equal numbers may differ from them by rounding.
  if (isConstant(x) || isConstant(y)) return 0;
  const [a, b] = [centred(x), centred(y)];
  const products = a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  return products / Math.sqrt(squares(a) * squares(b));
}

/** Ranks from 1; equal values share the mean of the ranks that they take. */
export function ranks(values: readonly number[]): number[] {
  const order = [...values.keys()].sort((a, b) => values[a]! - values[b]!);
  const result = values.map(() => 0);
  for (let start = 0; start < order.length;) {
    let end = start;
    while (end < order.length && values[order[end]!] === values[order[start]!]) end++;
    // Ranks start + 1 to end.
    for (const index of order.slice(start, end)) result[index] = (start + 1 + end) / 2;
    start = end;
  }
  return result;
}

export function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** √(Σ(x - x̄)² / n) */
export function standardDeviation(values: readonly number[]): number {
  return values.length === 0 ? 0 : Math.sqrt(squares(centred(values)) / values.length);
}

function isConstant(values: readonly number[]): boolean {
  return values.every((value) => value === values[0]);
}

function centred(values: readonly number[]): number[] {
  const middle = mean(values);
  return values.map((value) => value - middle);
}

function squares(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value * value, 0);
}

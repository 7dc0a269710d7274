/** @file Metrics of classification, as scikit-learn defines them.
 * Source: https://scikit-learn.org/stable/modules/model_evaluation.html#classification-metrics */

/** Precision, recall and F1 of one label; 0 where a quotient has no denominator. */
export interface LabelMetrics {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
  /** Examples whose true label this is. */
  readonly support: number;
}

/** counts[i][j]: examples of label i that were predicted as j. */
export type ConfusionMatrix = readonly (readonly number[])[];

/** `true` and `predicted` hold label ids, 0 … numLabels - 1. → [numLabels][numLabels] */
export function confusionMatrix(
  truth: readonly number[],
  predicted: readonly number[],
  numLabels: number,
): ConfusionMatrix {
  const counts = Array.from({ length: numLabels }, () =>
    Array.from({ length: numLabels }, () => 0),
  );
  for (const [index, label] of truth.entries()) counts[label]![predicted[index]!]!++;
  return counts;
}

/** Share of the examples that were predicted right; 0 without examples. */
export function accuracy(counts: ConfusionMatrix): number {
  const right = counts.reduce((sum, row, label) => sum + row[label]!, 0);
  return quotient(right, total(counts.flat()));
}

/** Metrics of each label: precision = right / predicted, recall = right / true, F1 = their harmonic mean. */
export function perLabelMetrics(counts: ConfusionMatrix): LabelMetrics[] {
  return counts.map((row, label) => {
    const right = row[label]!;
    const support = total(row);
    const predicted = total(counts.map((other) => other[label]!));
    return {
      precision: quotient(right, predicted),
      recall: quotient(right, support),
      f1: quotient(2 * right, support + predicted),
      support,
    };
  });
}

/** Mean F1 of the labels that occur, as true or as predicted ones. */
export function macroF1(counts: ConfusionMatrix): number {
  const occurring = perLabelMetrics(counts).filter(
    ({ support }, label) => support > 0 || counts.some((row) => row[label]! > 0),
  );
  return quotient(total(occurring.map(({ f1 }) => f1)), occurring.length);
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function quotient(numerator: number, denominator: number): number {
  return denominator === 0 ? 0 : numerator / denominator;
}

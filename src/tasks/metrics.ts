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

/** precision = right / predicted, recall = right / support, F1 = their harmonic mean. */
function labelMetrics(right: number, predicted: number, support: number): LabelMetrics {
  return {
    precision: quotient(right, predicted),
    recall: quotient(right, support),
    f1: quotient(2 * right, support + predicted),
    support,
  };
}

/** Metrics of each label. */
export function perLabelMetrics(counts: ConfusionMatrix): LabelMetrics[] {
  return counts.map((row, label) => {
    const predicted = total(counts.map((other) => other[label]!));
    return labelMetrics(row[label]!, predicted, total(row));
  });
}

/** Mean F1 of the labels that occur, as true or as predicted ones. */
export function macroF1(counts: ConfusionMatrix): number {
  const occurring = perLabelMetrics(counts).filter(
    ({ support }, label) => support > 0 || counts.some((row) => row[label]! > 0),
  );
  return quotient(total(occurring.map(({ f1 }) => f1)), occurring.length);
}

/** Metrics of examples with several labels each. */
export interface MultiLabelMetrics {
  readonly perLabel: readonly LabelMetrics[];
  /** F1 of all labels counted together. */
  readonly microF1: number;
  /** Mean F1 of all labels, those that do not occur included. */
  readonly macroF1: number;
  /** Share of the examples whose labels are exactly those predicted. */
  readonly subsetAccuracy: number;
}

/** `truth` and `predicted` hold the ids of each example's labels, without repetition. */
export function multiLabelMetrics(
  truth: readonly (readonly number[])[],
  predicted: readonly (readonly number[])[],
  numLabels: number,
): MultiLabelMetrics {
  const zeros = (): number[] => Array.from({ length: numLabels }, () => 0);
  const [right, guesses, support] = [zeros(), zeros(), zeros()];
  let exact = 0;
  for (const [index, labels] of truth.entries()) {
    const found = predicted[index]!;
    const hits = found.filter((label) => labels.includes(label));
    for (const label of hits) right[label]!++;
    for (const label of found) guesses[label]!++;
    for (const label of labels) support[label]!++;
    if (hits.length === labels.length && hits.length === found.length) exact++;
  }
  const perLabel = right.map((count, id) => labelMetrics(count, guesses[id]!, support[id]!));
  return {
    perLabel,
    microF1: labelMetrics(total(right), total(guesses), total(support)).f1,
    macroF1: quotient(total(perLabel.map(({ f1 }) => f1)), numLabels),
    subsetAccuracy: quotient(exact, truth.length),
  };
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

function quotient(numerator: number, denominator: number): number {
  return denominator === 0 ? 0 : numerator / denominator;
}

/**
 * @file Class labels: the set a training file has, their ids, and weights against imbalance.
 *
 * Labels are strings or whole numbers. Nothing is trimmed or case-folded: "spam" and "spam " are two labels.
 */

import { LowrankError } from "../errors.ts";
import { placeOf, show, summarize, type Column } from "./table.ts";

/** The distinct labels in id order, and the id of each value. */
export interface LabelSet {
  labels: string[];
  ids: number[];
}

/** A value as a label, or why it is none. */
function labelText(value: unknown): { label: string } | { problem: string } {
  if (typeof value === "string" && value.trim() !== "") return { label: value };
  if (typeof value === "boolean") return { label: String(value) };
  if (typeof value === "number" && Number.isInteger(value)) return { label: String(value) };
  if (typeof value === "bigint") return { label: String(value) };
  if (value === undefined || value === null || typeof value === "string") {
    return { problem: "the label is empty" };
  }
  return { problem: `expected a string or a whole number as label, got ${show(value)}` };
}

/** Values as label strings; a column makes messages name file and line. Throws LowrankError "data". */
export function labelTexts(source: readonly unknown[] | Column): string[] {
  const column = asColumn(source);
  const problems: string[] = [];
  const texts = column.values.map((value, index) => {
    const result = labelText(value);
    if ("label" in result) return result.label;
    problems.push(`${placeOf(column, index)}: column ${show(column.name)}: ${result.problem}`);
    return "";
  });
  if (problems.length > 0) {
    throw new LowrankError("data", summarize(problems, "Give each row a label or remove it"));
  }
  return texts;
}

function asColumn(source: readonly unknown[] | Column): Column {
  if ("values" in source && !Array.isArray(source)) return source as Column;
  return {
    file: "labels",
    name: "label",
    unit: "row",
    values: [...(source as unknown[])],
    lines: [],
  };
}

const WHOLE_NUMBER = /^[+-]?\d+$/;

const byCodeUnit = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** The different labels among texts, in the order of their ids: numerically if all are whole numbers (also as text:
 * "0", "10"), by code unit otherwise. */
export function distinctLabels(texts: readonly string[]): string[] {
  const numeric = texts.every((text) => WHOLE_NUMBER.test(text));
  return [...new Set(texts)].sort((a, b) =>
    numeric ? Number(a) - Number(b) || byCodeUnit(a, b) : byCodeUnit(a, b),
  );
}

/**
 * The distinct labels of training data (distinctLabels); ids count from 0 in their order.
 *
 * @param source a column (columnOf), whose file and lines the messages name, or bare values
 * @throws LowrankError "data" for empty or unfit labels, for fewer than two labels, for no rows
 */
export function labelSet(source: readonly unknown[] | Column): LabelSet {
  const texts = labelTexts(source);
  const labels = distinctLabels(texts);
  if (labels.length < 2) {
    const column = asColumn(source);
    const got = labels.length === 0 ? "no rows" : `${show(labels[0])} in all ${texts.length} rows`;
    throw new LowrankError(
      "data",
      `${column.file}: column ${show(column.name)}: expected at least two different labels, got ${got}. ` +
        "Choose the label column with labelColumn, or add examples of another class.",
    );
  }
  const idOf = new Map(labels.map((label, id) => [label, id]));
  return { labels, ids: texts.map((text) => idOf.get(text) ?? -1) };
}

/** Labels that are the same but for case and blanks, which are rarely meant to be several: a warning, or none. */
export function similarLabels({ file, name }: Column, labels: readonly string[]): string[] {
  const groups = new Map<string, string[]>();
  for (const label of labels) {
    const plain = label.trim().replaceAll(/\s+/g, " ").toLowerCase();
    groups.set(plain, [...(groups.get(plain) ?? []), label]);
  }
  const similar = [...groups.values()].filter((group) => group.length > 1);
  if (similar.length === 0) return [];
  const listed = similar.slice(0, LISTED_GROUPS).map((group) => group.map(show).join(", "));
  if (similar.length > LISTED_GROUPS) listed.push("…");
  return [
    `${file}: column ${show(name)}: labels that differ only in case or blanks are labels of their own: ` +
      `${listed.join("; ")}. Write them alike if they mean the same.`,
  ];
}

const LISTED_GROUPS = 5;

/**
 * The ids of evaluation data's labels in a training set's labels.
 *
 * @param labels the labels in id order, as labelSet returned them
 * @throws LowrankError "data" for empty labels and for labels that training did not have: names each with its first
 *   line, and the known ones
 */
export function encodeLabels(
  source: readonly unknown[] | Column,
  labels: readonly string[],
): number[] {
  const column = asColumn(source);
  const idOf = new Map(labels.map((label, id) => [label, id]));
  const unknown = new Map<string, number>();
  const ids = labelTexts(source).map((text, index) => {
    const id = idOf.get(text);
    if (id === undefined && !unknown.has(text)) unknown.set(text, index);
    return id ?? -1;
  });
  if (unknown.size > 0) {
    const problems = [...unknown].map(
      ([label, index]) =>
        `${placeOf(column, index)}: column ${show(column.name)}: ` +
        `the label ${show(label)} is not one of the training data's`,
    );
    const LISTED = 20;
    const known = labels.slice(0, LISTED).map((label) => show(label));
    if (labels.length > LISTED) known.push(`… (${labels.length} in all)`);
    throw new LowrankError("data", summarize(problems, `Known labels: ${known.join(", ")}`));
  }
  return ids;
}

/**
 * Weights that give each class the same total: `n / (k · count)`, scikit-learn's "balanced".
 *
 * @param ids the class of each example, 0 … numLabels - 1
 * @returns one weight a class; they average 1 over the examples
 * @throws LowrankError "data" when a class has no example
 */
export function balancedClassWeights(ids: readonly number[], numLabels: number): number[] {
  const counts = Array.from({ length: numLabels }, () => 0);
  for (const id of ids) counts[id] = (counts[id] ?? 0) + 1;
  const absent = counts.findIndex((count) => count === 0);
  if (absent !== -1 || counts.length !== numLabels) {
    throw new LowrankError(
      "data",
      `class weights: expected examples of each of the ${numLabels} classes and no others, ` +
        (absent !== -1 ? `got none of class ${absent}.` : "got ids beyond them."),
    );
  }
  return counts.map((count) => ids.length / (numLabels * count));
}

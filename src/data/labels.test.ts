import { describe, expect, it } from "vitest";
import { balancedClassWeights, encodeLabels, labelSet, similarLabels } from "./labels.ts";
import type { Column } from "./table.ts";

const column = (values: unknown[]): Column => ({
  file: "d.csv",
  name: "label",
  unit: "line",
  values,
  lines: values.map((_, i) => i + 2),
});

describe("labelSet", () => {
  it("sorts whole numbers by value, also as text", () => {
    expect(labelSet(["10", "9", "-1", "9"])).toEqual({
      labels: ["-1", "9", "10"],
      ids: [2, 1, 0, 1],
    });
    expect(labelSet([1, 0, "1"])).toEqual({ labels: ["0", "1"], ids: [1, 0, 1] });
  });

  it("sorts strings by code unit and trims nothing", () => {
    expect(labelSet(["b", "a", "B", "10", "a "]).labels).toEqual(["10", "B", "a", "a ", "b"]);
    expect(labelSet([true, false]).labels).toEqual(["false", "true"]);
  });

  it("names the places of empty and unfit labels", () => {
    expect(() => labelSet(column(["a", "", null, 1.5, ["x"], "b"]))).toThrowError(
      [
        'd.csv: line 3: column "label": the label is empty',
        'd.csv: line 4: column "label": the label is empty',
        'd.csv: line 5: column "label": expected a string or a whole number as label, got 1.5',
        'd.csv: line 6: column "label": expected a string or a whole number as label, got ["x"]. ' +
          "Give each row a label or remove it.",
      ].join("\n"),
    );
    expect(() => labelSet(column(Array.from({ length: 9 }, () => " ")))).toThrowError("(4 more)");
  });

  it("wants two labels", () => {
    expect(() => labelSet(column(["a", "a"]))).toThrowError(
      'd.csv: column "label": expected at least two different labels, got "a" in all 2 rows. ' +
        "Choose the label column with labelColumn, or add examples of another class.",
    );
    expect(() => labelSet([])).toThrowError("got no rows");
  });
});

it("warns of labels that differ only in case or blanks", () => {
  const labels = ["Spam", "ham", "spam", "spam ", "not  sure", "not sure", "not_sure"];
  expect(similarLabels(column([]), labels)).toEqual([
    'd.csv: column "label": labels that differ only in case or blanks are labels of their own: ' +
      '"Spam", "spam", "spam "; "not  sure", "not sure". Write them alike if they mean the same.',
  ]);
  expect(similarLabels(column([]), ["ham", "spam"])).toEqual([]);
});

describe("encodeLabels", () => {
  it("gives the training set's ids", () => {
    expect(encodeLabels(column(["b", "a"]), ["a", "b"])).toEqual([1, 0]);
    expect(encodeLabels([0, "1"], ["0", "1"])).toEqual([0, 1]);
  });

  it("names each unknown label once, and the known ones", () => {
    expect(() => encodeLabels(column(["a", "c", "c", "d"]), ["a", "b"])).toThrowError(
      'd.csv: line 3: column "label": the label "c" is not one of the training data\'s\n' +
        'd.csv: line 5: column "label": the label "d" is not one of the training data\'s. ' +
        'Known labels: "a", "b".',
    );
  });
});

describe("balancedClassWeights", () => {
  it("is n / (k · count)", () => {
    // scikit-learn: compute_class_weight("balanced", classes=[0, 1], y=[0, 0, 0, 1])
    expect(balancedClassWeights([0, 0, 0, 1], 2)).toEqual([4 / 6, 2]);
  });

  it("wants an example of each class", () => {
    expect(() => balancedClassWeights([0, 0], 2)).toThrowError("got none of class 1.");
    expect(() => balancedClassWeights([0, 1, 2], 2)).toThrowError("got ids beyond them.");
  });
});

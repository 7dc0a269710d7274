import { describe, expect, it } from "vitest";
import {
  encodeLabelLists,
  findSeparator,
  flaggedLabels,
  hasLists,
  labelLists,
  labelsOf,
} from "./label-lists.ts";
import type { Column } from "./table.ts";

const column = (values: unknown[], name = "labels"): Column => ({
  file: "d.csv",
  name,
  unit: "line",
  values,
  lines: values.map((_, i) => i + 2),
});

describe("labelLists", () => {
  it("reads lists, also as JSON in a cell, and leaves repetitions out", () => {
    expect(labelLists(column([["b", "a"], [], ["a", "a"], [3]]))).toEqual([
      ["b", "a"],
      [],
      ["a"],
      ["3"],
    ]);
    expect(labelLists(column(['["x, y", "z"]', "[]"]))).toEqual([["x, y", "z"], []]);
    expect(hasLists(column(["a", "[1]"]))).toBe(true);
    expect(hasLists(column(["[draft]", "a"]))).toBe(false);
  });

  it("reads texts with a separator, found or given", () => {
    const semicolons = column(["a, b; c", "", " c ;"]);
    expect(findSeparator(semicolons)).toBe(";");
    expect(labelLists(semicolons, ";")).toEqual([["a, b", "c"], [], ["c"]]);
    expect(findSeparator(column(["a|b", "a,b"]))).toBe("|");
    expect(findSeparator(column(["a,b"]))).toBe(",");
    expect(findSeparator(column(["a", "b"]))).toBeUndefined();
    expect(labelLists(column(["a", "b", 7]))).toEqual([["a"], ["b"], ["7"]]);
  });

  it("names the places of what is no list and of entries that are no labels", () => {
    expect(() => labelLists(column([["a"], null, "['a', 'b']"]))).toThrowError(
      [
        'd.csv: line 3: column "labels": expected a list of labels, got null',
        "d.csv: line 4: column \"labels\": expected a list of labels, got \"['a', 'b']\". " +
          'Write ["a", "b"], or a;b, and nothing or [] for a row without labels.',
      ].join("\n"),
    );
    expect(() => labelLists(column([["a"], [["b"], 1.5]]))).toThrowError(
      /^d\.csv: line 3: .*got \["b"\]\nd\.csv: line 3: .*got 1\.5/,
    );
  });
});

describe("flaggedLabels", () => {
  it("reads a column a label", () => {
    const joy = column([1, "0", true], "joy");
    const fear = column(["1.0", 0, "false"], "fear");
    expect(flaggedLabels([joy, fear])).toEqual([["joy", "fear"], [], ["joy"]]);
  });

  it("names the places of other values", () => {
    expect(() => flaggedLabels([column(["1", "yes", 2], "joy")])).toThrowError(
      [
        'd.csv: line 3: column "joy": expected 0 or 1, got "yes"',
        'd.csv: line 4: column "joy": expected 0 or 1, got 2. Write 1 for rows that have the label.',
      ].join("\n"),
    );
  });
});

describe("labels of lists", () => {
  it("are sorted, and encoded row by row", () => {
    const lists = [["b", "a"], [], ["b"]];
    const own = column(lists);
    expect(labelsOf(lists, own)).toEqual(["a", "b"]);
    expect(encodeLabelLists(lists, ["a", "b"], own)).toEqual([[1, 0], [], [1]]);
  });

  it("must occur, and must be known", () => {
    expect(() => labelsOf([[], []], column([[], []]))).toThrowError(
      'd.csv: column "labels": expected at least one label, but none of the 2 rows has any.',
    );
    expect(() => encodeLabelLists([[], ["a", "c"]], ["a"], column([[], []]))).toThrowError(
      'd.csv: line 3: column "labels": the label "c" is not one of the training data\'s. Known labels: "a".',
    );
  });
});

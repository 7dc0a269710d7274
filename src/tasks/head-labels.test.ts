import { expect, it } from "vitest";
import { labelsOfHead, namedLabels, otherLabelsWarning } from "./head-labels.ts";

it("reads the names of a configuration by their ids", () => {
  expect(namedLabels({ id2label: { 1: "ham", 0: "spam" } })).toEqual(["spam", "ham"]);
  expect(namedLabels({ id2label: { 1: "ham", 2: "spam" } })).toBeUndefined();
  expect(namedLabels({ id2label: ["ham"] })).toBeUndefined();
  expect(namedLabels({ id2label: {} })).toBeUndefined();
  expect(namedLabels({})).toBeUndefined();
});

it("names the outputs of a head as transformers does where the configuration is of another size", () => {
  expect(labelsOfHead({ id2label: { 0: "a", 1: "b" } }, 2)).toEqual(["a", "b"]);
  expect(labelsOfHead({ id2label: { 0: "a", 1: "b" } }, 3)).toEqual([
    "LABEL_0",
    "LABEL_1",
    "LABEL_2",
  ]);
});

it("says that a head goes on with other labels", () => {
  const head = { labels: ["negative", "positive"], stays: false };
  expect(otherLabelsWarning(head, ["ham", "spam"])).toBe(
    "The base model's head was trained for negative, positive, and goes on with ham, spam in their places.",
  );
  expect(otherLabelsWarning(head, ["negative", "positive"])).toBeUndefined();
  expect(otherLabelsWarning(head, ["a", "b", "c"])).toBeUndefined();
});

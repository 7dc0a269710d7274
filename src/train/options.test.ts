import { describe, expect, it } from "vitest";
import { trainOptions, trainOptionsSchema } from "./options.ts";

describe("trainOptions", () => {
  it("needs a model and data, and fills in the rest", () => {
    expect(trainOptions({ model: "m", data: "d.csv" })).toMatchObject({
      epochs: 3,
      batchSize: 8,
      schedule: "linear",
      validationSplit: 0.1,
      r: 16,
      targetModules: "all-linear",
      evalEvery: "epoch",
    });
  });

  it("lists every problem in one error", () => {
    expect(() =>
      trainOptions({ model: "m", epochs: 0, schedule: "square", speed: 1 }, "run.yaml"),
    ).toThrow(/^run\.yaml: data: .*; epochs: .*; schedule: .*; Unrecognized key: "speed"/);
  });

  it("refuses what would do nothing", () => {
    const given = { model: "m", data: "d.csv", threshold: 0.3, stride: 64, tagScheme: "iobes" };
    expect(() =>
      trainOptions({ ...given, validationSplit: 0, earlyStopping: 2, loraPlusLrEmbedding: 1e-3 }),
    ).toThrow(
      "options: stride: goes with task token-classification or question-answering, not with sequence-classification; leave it out; " +
        "tagScheme: goes with task token-classification, not with sequence-classification; leave it out; " +
        "earlyStopping: needs validationData, or a validationSplit above 0; loraPlusLrEmbedding: needs loraPlusLrRatio.",
    );
    const { threshold: _, ...tagged } = given;
    expect(trainOptions({ ...tagged, task: "ner" })).toMatchObject({ stride: 64 });
  });

  it("describes every option", () => {
    for (const [name, schema] of Object.entries(trainOptionsSchema.shape)) {
      expect(schema.description, name).toBeTruthy();
    }
  });
});

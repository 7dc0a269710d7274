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

  it("describes every option", () => {
    for (const [name, schema] of Object.entries(trainOptionsSchema.shape)) {
      expect(schema.description, name).toBeTruthy();
    }
  });
});

import { describe, expect, it } from "vitest";
import { z } from "zod";
import { trainOptions, trainOptionsSchema } from "./options.ts";

/** Types that are inferred of a schema lose its descriptions. */
const HEAD = `/** @file What a user gives to a training run, with the descriptions of trainOptionsSchema (options.ts) where editors show them.
 * Written by options.test.ts. */
import type { z } from "zod";
import type { trainOptionsSchema } from "./options.ts";

type Given = z.input<typeof trainOptionsSchema>;

/** What a user gives: \`model\` and \`data\` at least. */
export interface TrainOptionsInput {
`;

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

  it("says what is expected where there are alternatives", () => {
    const options = {
      targetModules: 5,
      excludeModules: [1],
      layersToTransform: "1",
      layersPattern: 1,
      initLoraWeights: "eva",
      trainableTokenIndices: "3",
      trainModules: {},
      evalEvery: "never",
    };
    const message = [
      "options: trainModules: expected a list of modules' names, one regular expression or null",
      'evalEvery: expected "epoch" or a number of steps',
      "targetModules: expected a list of modules' names, one regular expression or null",
      "excludeModules: expected a list of modules' names, one regular expression or null",
      "layersToTransform: expected the number of a layer, a list of such numbers or null",
      "layersPattern: expected a name, a list of names or null",
      'initLoraWeights: expected true, false, "gaussian", "pissa", "pissa_niter_<number>" or "olora"',
      "trainableTokenIndices: Invalid input: expected array, received string.",
    ];
    expect(() => trainOptions({ model: "m", data: "d.csv", ...options })).toThrow(
      message.join("; "),
    );
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

  it("describes every option, also to editors: `npx vitest -u src/train/options.test.ts` writes their file", async () => {
    const { properties = {}, required = [] } = z.toJSONSchema(trainOptionsSchema, { io: "input" });
    const lines = Object.entries(properties).map(([name, schema]) => {
      const { description, default: usual } = schema as { description?: string; default?: unknown };
      expect(description, name).toBeTruthy();
      const byDefault =
        usual === undefined || usual === null ? "" : `. Default: ${JSON.stringify(usual)}`;
      const sign = required.includes(name) ? "" : "?";
      return `  /** ${description}${byDefault}. */\n  ${name}${sign}: Given["${name}"];\n`;
    });
    await expect(HEAD + lines.join("") + "}\n").toMatchFileSnapshot("./options-input.ts");
  });
});

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sentimentRows, writeTinyModel } from "../../test/tiny-model.ts";
import { settingOf, type SettingOptions } from "./setting.ts";

let root: string;
let options: SettingOptions;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "setting-"));
  const model = await writeTinyModel(join(root, "bert"), { family: "bert" });
  const file = async (name: string, rows: readonly string[]): Promise<string> => {
    await writeFile(join(root, name), `text,label\n${rows.join("\n")}\n`);
    return join(root, name);
  };
  const rows = sentimentRows(50, 1).map(({ text, label }) => `${text},${label}`);
  await file("odd.csv", ["good film,good", "strange film,strange"]);
  options = {
    methods: ["full", "lora"],
    ranks: [1, 2],
    seeds: [5, 6],
    base: { model, data: await file("train.csv", rows), validationSplit: 0.2, device: "cpu" },
    learningRates: { full: 1e-5, lora: 1e-4 },
    testData: await file("test.csv", rows.slice(0, 7)),
    parallel: 1,
  };
});
afterAll(() => rm(root, { recursive: true }));

/** With other options of training. */
const base = (more: object): Partial<SettingOptions> => ({ base: { ...options.base, ...more } });

describe("the setting of a comparison", () => {
  it("says what is trained on what", async () => {
    const { setting, warnings } = await settingOf(options);
    expect(warnings).toEqual([]);
    expect(setting).toMatchObject({
      modelType: "bert",
      task: "sequence-classification",
      metric: "accuracy",
      keptBy: "macroF1",
      lowerIsBetter: false,
      examples: { train: 40, validation: 10, test: 7 },
      testData: options.testData,
      seeds: [5, 6],
    });
    expect(setting.matrices).toContain("bert.encoder.layer.0.attention.self.query.weight");
    expect(setting.machine.cores).toBeGreaterThan(0);
    const alone = await settingOf({ ...options, methods: ["full"], metric: "loss" });
    expect(alone.setting).toMatchObject({ metric: "loss", lowerIsBetter: true });
    expect(alone.setting.matrices).toBeUndefined();
    // The adapters are no part of the model.
    const lora = await settingOf({ ...options, methods: ["lora"] });
    expect(lora.setting.parameters).toBe(alone.setting.parameters);
  });

  it("warns where all are measured on what they were trained on", async () => {
    const data = String(options.base["data"]);
    const { warnings } = await settingOf({
      ...options,
      methods: ["lora"],
      ...base({ validationData: data }),
      testData: data,
    });
    expect(warnings).toEqual(
      ["validation", "test"].map(
        (what) =>
          `${data}: the ${what} data is the training data. What is measured on it says nothing about other data.`,
      ),
    );
  });

  it.each([
    [
      "a rank above the smallest matrix",
      () => ({ ranks: [4, 99, 100] }),
      /^ranks: expected at most \d+, the rank of the smallest adapted matrix \(bert\.\S+, \d+ x \d+\), got 99, 100\. Leave out/,
    ],
    [
      "a seed beyond the last",
      () => ({ seeds: [2 ** 31 - 1, 2 ** 31] }),
      /^seed: expected the last of 2 seeds/,
    ],
    [
      "a metric that the task lacks",
      () => ({ metric: "f7" }),
      /^metric: expected one of loss, accuracy, .*, got "f7"\.$/,
    ],
    ["an option that is none", () => base({ epochs: -1 }), /^options: epochs: /],
    ["data that are not there", () => base({ data: join(root, "no.csv") }), /no\.csv: /],
    ["a model that is not there", () => base({ model: join(root, "no") }), /config\.json: /],
    [
      "labels of the test data that were not learned",
      () => ({ testData: join(root, "odd.csv") }),
      /odd\.csv:.*"good"/,
    ],
    [
      "nothing to compare by",
      () => ({ ...base({ validationSplit: 0 }), testData: undefined }),
      /^validationSplit: with 0 and without test data there is nothing to compare by\./,
    ],
  ] as const)("refuses %s", async (_, change, message) => {
    await expect(settingOf({ ...options, ...change() })).rejects.toThrow(message);
  });

  it("can do without validation data where there are test data", async () => {
    const { setting } = await settingOf({ ...options, ...base({ validationSplit: 0 }) });
    expect(setting.examples).toEqual({ train: 50, validation: 0, test: 7 });
  });
});

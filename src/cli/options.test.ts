import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { trainOptionsSchema } from "../train/options.ts";
import { predict } from "./commands/predict.ts";
import { sweep } from "./commands/sweep.ts";
import { train } from "./commands/train.ts";
import { readConfigFile } from "./config-file.ts";
import {
  canonicalArguments,
  findKey,
  optionsOf,
  resolveOptions,
  withFlagNames,
} from "./options.ts";

const translate = (message: string): string => withFlagNames(train, message);

const canonical = (line: string): string => canonicalArguments(train, line.split(" ")).join(" ");

function read(text: string | Buffer): ReturnType<typeof readConfigFile> {
  const file = join(root, "run.yaml");
  writeFileSync(file, text);
  return readConfigFile(file, train);
}

const REQUIRED = { model: "m", data: "d.csv", output: "out" };

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "cli-options-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("flags of lowrank train", () => {
  it("has a flag with a description for every option of a run", () => {
    const options = optionsOf(train);
    const keys = options.map(({ key }) => key);
    expect(keys).toEqual(expect.arrayContaining(Object.keys(trainOptionsSchema.shape)));
    expect(options.filter(({ schema }) => !schema.description)).toEqual([]);
    expect(new Set(options.map(({ flag }) => flag)).size).toBe(options.length);
  });

  it("groups only options that there are", () => {
    const keys = Object.keys(train.schema.shape);
    const grouped = Object.entries(train.groups ?? {}).filter(([name]) => name !== "Adapter");
    expect(grouped.flatMap(([, group]) => group).filter((key) => !keys.includes(key))).toEqual([]);
    expect(Object.values(train.aliases ?? {}).filter((key) => !keys.includes(key))).toEqual([]);
  });

  it("accepts other spellings", () => {
    const names = ["learningRate", "learning-rate", "learning_rate", "lr"];
    expect(names.map((name) => findKey(train, name))).toEqual(names.map(() => "learningRate"));
    const ranks = ["rank", "lora_r", "lora-rank", "foo"];
    expect(ranks.map((name) => findKey(train, name))).toEqual(["r", "r", "r", undefined]);
    expect(canonical("train --lr 1 --num_train_epochs=2 -r 4 --x_y -- --lr")).toBe(
      "train --learning-rate 1 --epochs=2 -r 4 --x_y -- --lr",
    );
  });
});

describe("resolveOptions", () => {
  it("fills in defaults", () => {
    const options = resolveOptions(train, REQUIRED);
    expect(options).toMatchObject({ ...REQUIRED, r: 16, device: "cpu", json: false });
  });

  it("lists all problems by flag", () => {
    const given = { ...REQUIRED, learningRate: -1, evalEvery: "x", bias: "some" };
    expect(() => resolveOptions(train, given)).toThrow(
      [
        "--learning-rate: expected a number above 0, got -1.",
        '--eval-every: expected "epoch" or a whole number above 0, got "x".',
        '--bias: expected one of none, all, lora_only, got "some".',
      ].join("\n"),
    );
  });

  it("explains what is missing", () => {
    expect(() => resolveOptions(train, { data: "d.csv", output: "o" })).toThrow(
      /^--model is missing: .*npm install/,
    );
  });
});

describe("readConfigFile", () => {
  it("takes keys in every spelling, below flags", async () => {
    const config = await read(
      "model: m\ndata: d.csv\nlearning-rate: 0.5\nbatch_size: 2\nweightDecay: 0.1\nrank: 4\n" +
        "target-modules: [query, value]\nrank_pattern: {key: 2}\n",
    );
    expect(resolveOptions(train, { output: "o", batchSize: 3 }, config)).toMatchObject({
      learningRate: 0.5,
      batchSize: 3,
      weightDecay: 0.1,
      r: 4,
      targetModules: ["query", "value"],
      rankPattern: { key: 2 },
    });
  });

  it("reads JSON and empty files", async () => {
    expect((await read('{"epochs": 2}')).values).toEqual({ epochs: 2 });
    expect((await read("# nothing\n")).values).toEqual({});
  });

  it("takes texts for what they mean on the command line", async () => {
    const text = 'target-modules: "query,value"\nrank-pattern: key=4\nsteps: "20"\nbias: none\n';
    expect((await read(text)).values).toEqual({
      targetModules: ["query", "value"],
      rankPattern: { key: 4 },
      steps: 20,
      bias: "none",
    });
    const tries = join(root, "sweep.yaml");
    writeFileSync(tries, "try: lr=1e-4,1e-3\n");
    expect((await readConfigFile(tries, sweep)).values).toEqual({ try: ["lr=1e-4,1e-3"] });
  });

  it("names file and line of what is wrong", async () => {
    await expect(
      read("epochs: 1\nlerning_rate: 2\nnum-epochs: 3\nlr: 1\nlearningRate: 1\nxyzzy: 1"),
    ).rejects.toThrow(
      [
        `${root}/run.yaml: line 2: there is no option "lerning_rate". Did you mean learning-rate?`,
        `${root}/run.yaml: line 3: there is no option "num-epochs". Did you mean epochs?`,
        `${root}/run.yaml: line 5: "learningRate" is given twice, first as ${root}/run.yaml: line 4: lr.`,
        `${root}/run.yaml: line 6: there is no option "xyzzy". --help lists the options.`,
      ].join("\n"),
    );
    await expect(read("a: [1\nb")).rejects.toThrow(/run\.yaml: line 2: not YAML/);
    await expect(read("epochs: 1\n---\nepochs: 2\n")).rejects.toThrow(
      /run\.yaml: line 2: expected one YAML document, got a second one\.$/,
    );
    await expect(read("epochs: 1\nmodel: *base\n")).rejects.toThrow(
      /run\.yaml: line 2: model: Unresolved alias .*: base\.$/,
    );
    await expect(read(Buffer.from("model: caf\xe9", "latin1"))).rejects.toThrow(
      /run\.yaml: line 1: expected UTF-8 text/,
    );
    await expect(read("just words")).rejects.toThrow(/expected lines like/);
    const config = await read("model: m\nepochs: many\n");
    expect(() => resolveOptions(train, { data: "d", output: "o" }, config)).toThrow(
      `${root}/run.yaml: line 2: epochs: expected a number above 0, got "many".`,
    );
  });

  it("says when the file cannot be read", async () => {
    await expect(readConfigFile(join(root, "none.yaml"), train)).rejects.toThrow(
      /none\.yaml: cannot read/,
    );
  });
});

it("shows the library's messages with flags", () => {
  expect(translate("maxLength: at most 32. Choose a smaller maxLength.")).toBe(
    "--max-length: at most 32. Choose a smaller --max-length.",
  );
  expect(translate("r: larger than the layer")).toBe("--rank: larger than the layer");
  expect(translate("device cuda: not there")).toBe("--device cuda: not there");
  expect(translate("the model has no task")).toBe("the model has no task");
  expect(translate("d.csv: no label; pass one with labelColumn.")).toBe(
    "d.csv: no label; pass one with --label-column.",
  );
  expect(translate("Choose another `output` or pass `overwrite`.")).toBe(
    "Choose another --output or pass --overwrite.",
  );
  const empty = "input 2: context: expected a text, got an empty one.";
  expect(withFlagNames(predict, empty)).toBe(empty);
});

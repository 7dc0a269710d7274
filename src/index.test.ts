import { describe, expect, it } from "vitest";
import * as data from "./data/index.ts";
import * as delta from "./delta/index.ts";
import * as experiments from "./experiments/index.ts";
import * as lowrank from "./index.ts";
import * as lora from "./lora/index.ts";
import * as models from "./models/index.ts";
import * as nn from "./nn/index.ts";
import * as ops from "./ops/index.ts";
import * as text from "./text/index.ts";
import * as train from "./train/index.ts";

const entries = { lowrank, data, delta, experiments, lora, models, nn, ops, text, train };

it("means one thing by a name, wherever it is imported from", () => {
  const all = Object.entries(entries).flatMap(([entry, exported]) =>
    Object.entries(exported).map(([name, value]) => ({ entry, name, value: value as unknown })),
  );
  const others = all.filter(({ name, value }) =>
    all.some((other) => other.name === name && other.value !== value),
  );
  expect(others.map(({ entry, name }) => `${entry}: ${name}`)).toEqual([]);
});

const nothing = undefined as never;

describe("arguments that JavaScript may leave out or misspell", () => {
  const calls: Record<string, [() => unknown, string]> = {
    "Trainer.create": [() => lowrank.Trainer.create(nothing), "an object with options"],
    "AutoModel.fromPretrained": [
      () => lowrank.AutoModel.fromPretrained("model", null as never),
      "an object with options",
    ],
    generate: [() => lowrank.generate(nothing, {} as never, nothing), "an object with options"],
    "Engine.start": [() => lowrank.Engine.start(null as never), "an object with options"],
    extractLora: [() => delta.extractLora(nothing), "an object with options"],
    resizeLora: [() => delta.resizeLora(nothing), "an object with options"],
    compare: [() => experiments.compare(nothing), "an object with options"],
    sweep: [() => experiments.sweep(nothing), "an object with options"],
    grid: [async () => experiments.grid(nothing), "an object with options"],
    readDelta: [() => delta.readDelta(nothing), "a path"],
    openAdapter: [() => lora.openAdapter(nothing), "a path"],
    saveAdapter: [() => lora.saveAdapter("adapter", nothing, nothing), "an object with options"],
    saveMergedModel: [
      () => lora.saveMergedModel("model", nothing, nothing, nothing),
      "an object with options",
    ],
  };

  it.each(Object.entries(calls))("%s", async (name, [call, expected]) => {
    await expect(call()).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(`^${name}: expected ${expected}, got (undefined|null)`),
    });
  });

  it("lists the options where a name is none", async () => {
    const options = { taks: "SEQ_CLS" } as object;
    await expect(lowrank.AutoModel.fromPretrained("model", options)).rejects.toThrow(
      "AutoModel.fromPretrained: there is no option taks. Options: task, config, dropout, configFile, newHead.",
    );
  });
});

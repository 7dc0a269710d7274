import { expect, it } from "vitest";
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

/** @file The conformance fixtures beside the checkout: every supported one with all passes, three of them
 * also with each pass left out. `npm run conformance` prints the same checks with their deviations. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PASSES, type PassName } from "../../src/passes/optimize.ts";
import { Engine } from "../../src/runtime/engine.ts";
import { checkFixture, whyUnsupported, type Check, type CheckOptions } from "./check.ts";

const DIRECTORY = join(import.meta.dirname, "../../../shared/conformance");
const isPresent = existsSync(DIRECTORY);
const FIXTURES = isPresent ? readdirSync(DIRECTORY).filter((name) => existsSync(golden(name))) : [];

/** Between them they have every op: causal and bidirectional attention, DoRA, embeddings, all heads. */
const PASS_FIXTURES = ["gpt2-seq-cls", "bert-seq-cls", "seed-gpt"];
const WITHOUT: readonly (readonly [string, readonly PassName[]])[] = [
  ["no passes", []],
  ...PASSES.map((left) => [`all but ${left}`, PASSES.filter((pass) => pass !== left)] as const),
];

/** A fixture takes two seconds on an idle machine. */
const TIMEOUT_MS = 180_000;

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

function golden(name: string): string {
  return join(DIRECTORY, name, "golden.json");
}

async function runChecks(
  name: string,
  options: Pick<CheckOptions, "passes" | "staticLengths">,
): Promise<Check[]> {
  const checks: Check[] = [];
  for await (const check of checkFixture(DIRECTORY, name, { engine, ...options }))
    checks.push(check);
  return checks;
}

/** Every deviation above its tolerance, by the check's name: expected to be none. */
function failures(checks: readonly Check[]): string[] {
  return checks
    .filter(({ deviation }) => deviation !== undefined && !(deviation.used <= 1))
    .map(
      ({ name, deviation }) =>
        `${name}: ${deviation!.largest} is ${deviation!.used} x the tolerance`,
    );
}

describe("conformance", { timeout: TIMEOUT_MS }, () => {
  test.skipIf(isPresent)("needs ../shared/conformance beside the checkout", () => {});

  for (const name of FIXTURES) {
    const stored: any = JSON.parse(readFileSync(golden(name), "utf8"));
    const reason = whyUnsupported({ golden: stored });
    if (reason !== undefined) {
      test.skip(`${name}: ${reason}`, () => {});
      continue;
    }
    test(name, async () => {
      expect(failures(await runChecks(name, { passes: PASSES }))).toEqual([]);
    });
    if (PASS_FIXTURES.includes(name)) {
      test(`${name}, each length compiled by itself`, async () => {
        const options = { passes: PASSES, staticLengths: true };
        expect(failures(await runChecks(name, options))).toEqual([]);
      });
    }
  }
});

describe.skipIf(!isPresent)("passes change no result", { timeout: TIMEOUT_MS }, () => {
  for (const name of PASS_FIXTURES) {
    for (const [label, passes] of WITHOUT) {
      test(`${name}, ${label}`, async () => {
        expect(failures(await runChecks(name, { passes }))).toEqual([]);
      });
    }
  }
});

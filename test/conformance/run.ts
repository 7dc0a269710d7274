/** @file `npm run conformance -- DIR [--only PATTERN]`: every check of a folder of fixtures, a line each. */
import { readdir } from "node:fs/promises";
import { parseArgs } from "node:util";
import { Engine } from "../../src/runtime/engine.ts";
import { checkFixture } from "./check.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: "string", default: "" } },
});
const [directory] = positionals;
if (directory === undefined) {
  console.error("usage: npm run conformance -- DIR [--only PATTERN]");
  process.exit(2);
}

const pattern = new RegExp(values.only);
const entries = await readdir(directory, { withFileTypes: true });
const names = entries
  .filter((entry) => entry.isDirectory() && pattern.test(entry.name))
  .map((entry) => entry.name);
const engine = await Engine.start();
const counts = { passed: 0, failed: 0, skipped: 0 };
for (const name of names.sort()) {
  try {
    for await (const check of checkFixture(directory, name, { engine })) {
      if (check.skipped !== undefined) {
        counts.skipped++;
        console.log(`skip  ${check.name}: ${check.skipped}`);
        continue;
      }
      const { largest, used } = check.deviation!;
      const passed = used <= 1;
      counts[passed ? "passed" : "failed"]++;
      const share = `${(100 * used).toFixed(0)} % of the tolerance`;
      console.log(
        `${passed ? "ok   " : "FAIL "} ${check.name}: largest deviation ${largest.toExponential(1)}, ${share}`,
      );
    }
  } catch (error) {
    counts.failed++;
    console.log(`FAIL  ${name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
await engine.close();
console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
process.exitCode = counts.failed > 0 ? 1 : 0;

/** @file Code that the documentation quotes: a block whose first line names a file stands there as it is. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..");
const QUOTE = /```ts\n\/\/ (src\/\S+)\n([^]*?)```/g;

const quotes = readdirSync(join(ROOT, "docs"))
  .filter((name) => name.endsWith(".md"))
  .flatMap((name) =>
    [...readFileSync(join(ROOT, "docs", name), "utf8").matchAll(QUOTE)].map(
      ([, file, code]) => [name, file!, code!] as const,
    ),
  );

test("there are quotations", () => {
  expect(quotes.map(([name]) => name)).toContain("adding-a-model.md");
});

test.each(quotes)("%s quotes %s", (_, file, code) => {
  expect(readFileSync(join(ROOT, file), "utf8")).toContain(code);
});

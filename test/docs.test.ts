/** @file What the documentation says, held against the code: quotations, commands, links, names of files, snippets. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import ts from "typescript";
import { describe, expect, test } from "vitest";
import { COMMANDS } from "../src/cli/command.ts";
import { findKey } from "../src/cli/options.ts";

const ROOT = join(import.meta.dirname, "..");
const pages = ["README.md", ...readdirSync(join(ROOT, "docs")).filter(isMarkdown).map(inDocs)].map(
  (name) => [name, readFileSync(join(ROOT, name), "utf8")] as const,
);

function isMarkdown(name: string): boolean {
  return name.endsWith(".md");
}

function inDocs(name: string): string {
  return `docs/${name}`;
}

/** A block whose first line names a file stands in that file as it is. */
describe("quotations", () => {
  const quotes = pages.flatMap(([name, text]) =>
    [...text.matchAll(/```ts\n\/\/ ((?:src|examples)\/\S+)\n([^]*?)```/g)].map(
      ([, file, code]) => [name, file!, code!] as const,
    ),
  );

  test("there are some", () => {
    expect(quotes.map(([name]) => name)).toContain("docs/adding-a-model.md");
  });

  test.each(quotes)("%s quotes %s", (_, file, code) => {
    expect(readFileSync(join(ROOT, file), "utf8")).toContain(code);
  });
});

/** `lowrank train --model M …`, in blocks with lines continued by a backslash, or within a line. */
describe("commands", () => {
  const commands = pages.flatMap(([name, text]) =>
    [...text.replaceAll(/\\\n\s*/g, "").matchAll(/\blowrank ([a-z]+)\b([^\n`]* --[^\n`]*)/g)].map(
      ([, command, rest]) => [name, command!, rest!] as const,
    ),
  );

  test("there are some", () => expect(commands.length).toBeGreaterThan(20));

  test.each(commands)("%s: lowrank %s%s", async (_, name, rest) => {
    const command = await COMMANDS.find((known) => known.name === name)!.load();
    const flags = [...rest.matchAll(/ --([a-z-]+)/g)].map(([, flag]) => flag!);
    expect(flags.filter((flag) => findKey(command, flag) === undefined)).toEqual([]);
  });
});

test.each(pages)("the links of %s lead somewhere", (name, text) => {
  const targets = [...text.matchAll(/\]\(([^)#]+)[^)]*\)/g)]
    .map(([, target]) => target!)
    .filter((target) => !target.includes("://"));
  const missing = targets.filter((target) => !existsSync(join(ROOT, dirname(name), target)));
  expect(missing).toEqual([]);
});

test.each(pages)("the files that %s names exist", (_, text) => {
  const files = [...text.matchAll(/`((?:[\w.-]+\/)+[\w.-]+\.(?:ts|py|txt))`/g)].map(
    ([, file]) => file!,
  );
  const missing = files.filter(
    (file) => !["", "src", "examples"].some((folder) => existsSync(join(ROOT, folder, file))),
  );
  expect(missing).toEqual([]);
});

/** A snippet that imports what it uses begins a program, those after it on the page go on with it. */
function programsOf(text: string): string[] {
  const programs: string[] = [];
  for (const [, code] of text.matchAll(/```ts\n([^]*?)```/g)) {
    if (code!.startsWith("import ")) programs.push(code!);
    else if (programs.length > 0 && !code!.startsWith("//")) programs.push(programs.pop()! + code!);
  }
  return programs;
}

test("snippets are programs that the compiler takes", () => {
  const snippets = new Map(
    pages.flatMap(([name, text]) =>
      programsOf(text).map(
        (code, i) => [join(ROOT, `docs/${name.replaceAll("/", "-")}-${i}.ts`), code] as const,
      ),
    ),
  );
  expect(snippets.size).toBeGreaterThan(8);
  const options: ts.CompilerOptions = {
    noEmit: true,
    strict: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    types: ["node"],
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (file) => snippets.has(file) || fileExists(file);
  host.getSourceFile = (file, version) => {
    const code = snippets.get(file);
    return code === undefined
      ? getSourceFile(file, version)
      : ts.createSourceFile(file, code, version);
  };
  const program = ts.createProgram([...snippets.keys()], options, host);
  const problems = ts
    .getPreEmitDiagnostics(program)
    .map(
      ({ file, messageText }) =>
        `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`,
    );
  expect(problems).toEqual([]);
}, 60_000);

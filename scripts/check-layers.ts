/** @file `npm run check:layers`: a folder of src imports only from folders above it in the list below,
 * which docs/architecture.md explains. Prints every import that breaks the order; exit code 1 if any. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

/** From the bottom to the top. */
const LAYERS = [
  "graph",
  "ops",
  "autodiff",
  "passes",
  "onnx",
  "runtime",
  "io",
  "nn",
  "models",
  "lora",
  "delta",
  "optim",
  "text",
  "data",
  "tasks",
  "generate",
  "train",
  "experiments",
  "cli",
] as const;

/** What every folder may import: single files of src, and a folder of arithmetic; among themselves in this order. */
const FOUNDATION = ["errors.ts", "version.ts", "format.ts", "random.ts", "linalg"] as const;
/** The package's entry: imports anything, and nothing imports it. */
const ENTRY = "index.ts";
/** Formats and storage know nothing about computation: these import the foundation only. */
const STANDALONE: ReadonlySet<string> = new Set(["io", "text", "data"]);
/** Packages that one folder alone may import. */
const OWNED_PACKAGES: readonly { pattern: RegExp; owner: string }[] = [
  { pattern: /^onnxruntime-/, owner: "runtime" },
  { pattern: /^commander$/, owner: "cli" },
];

/** The folder of a file below src, or the file itself at the top. */
const partOf = (file: string): string => (file.includes("/") ? file.split("/")[0]! : file);

/** What is wrong with an import of `target` from `source` (both parts of src), or undefined. */
export function layerProblem(source: string, target: string): string | undefined {
  if (source === target || source === ENTRY) return undefined;
  const [from, to] = [rank(source), rank(target)];
  if (from === undefined) return `${source} is not in the list of layers`;
  if (to === undefined) return `${target} is not in the list of layers`;
  if (to > from) return `${source} lies below ${target}`;
  const isFoundation = (FOUNDATION as readonly string[]).includes(target);
  if (STANDALONE.has(source) && !isFoundation) return `${source} stands alone`;
  return undefined;
}

function rank(part: string): number | undefined {
  const index = [...FOUNDATION, ...LAYERS].indexOf(part as never);
  return index === -1 ? undefined : index;
}

/** What is wrong with an import of a package, or undefined. */
export function packageProblem(source: string, specifier: string): string | undefined {
  const owned = OWNED_PACKAGES.find(({ pattern }) => pattern.test(specifier));
  return owned && owned.owner !== source ? `${specifier} belongs to src/${owned.owner}` : undefined;
}

/** All problems of a source folder, one line each. Tests may import anything. */
export function checkLayers(root: string): string[] {
  const files = readdirSync(root, { recursive: true, encoding: "utf8" })
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"));
  return files.sort().flatMap((file) => {
    const imports = ts.preProcessFile(readFileSync(join(root, file), "utf8")).importedFiles;
    return imports.flatMap(({ fileName }) => {
      const source = partOf(file);
      const problem = fileName.startsWith(".")
        ? layerProblem(source, partOf(posix.join(posix.dirname(file), fileName)))
        : packageProblem(source, fileName);
      return problem ? [`src/${file} imports ${fileName}: ${problem}.`] : [];
    });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = checkLayers(join(dirname(fileURLToPath(import.meta.url)), "../src"));
  for (const problem of problems) console.error(problem);
  console.log(problems.length === 0 ? "layers: in order" : `layers: ${problems.length} problems`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

/** @file `npm run check:package`: the package as a user gets it. Packs it, looks at what is inside, installs
 * it in an empty project, and there imports every subpath from JavaScript and from strict TypeScript and
 * runs the command. Needs the package registry (or npm's cache of it) for the dependencies. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "..");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  name: string;
  exports?: Record<string, unknown>;
  bin?: Record<string, string>;
};

/** Everything that may ship besides what is compiled. */
const PLAIN_FILES: ReadonlySet<string> = new Set([
  "package.json",
  "README.md",
  "LICENSE",
  "CHANGELOG.md",
]);
const COMPILED = /^dist\/(.+?)(\.js|\.d\.ts)$/;

function run(command: string, args: readonly string[], cwd: string): string {
  // ONNX Runtime's install script would fetch CUDA libraries.
  const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: "skip" };
  try {
    return execFileSync(command, args, { cwd, env, encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${command} ${args.join(" ")}\n${stdout}${stderr}`, { cause: error });
  }
}

/** Build and pack into a directory; returns the tarball and the paths in it. */
function pack(directory: string): { tarball: string; files: string[] } {
  run("npm", ["run", "build"], root);
  const args = ["pack", "--json", "--ignore-scripts", "--pack-destination", directory];
  const report = JSON.parse(run("npm", args, root)) as unknown;
  // npm gives a list of packages, newer versions an object by name.
  const [packed] = Object.values(report as object) as {
    filename: string;
    files: { path: string }[];
  }[];
  return {
    tarball: join(directory, packed!.filename),
    files: packed!.files.map(({ path }) => path),
  };
}

/** Files that should not ship: tests, and what no source file stands behind. */
export function strayFiles(files: readonly string[]): string[] {
  return files.filter((file) => {
    if (PLAIN_FILES.has(file)) return false;
    const source = COMPILED.exec(file)?.[1];
    return (
      source === undefined ||
      source.endsWith(".test") ||
      !existsSync(join(root, "src", `${source}.ts`))
    );
  });
}

/** The importable names: "lowrank", "lowrank/lora", … */
function specifiers(): string[] {
  const paths = Object.keys(manifest.exports ?? {}).filter((path) => !path.endsWith(".json"));
  if (paths.length === 0) throw new Error("package.json: no exports.");
  return paths.map((path) => join(manifest.name, path));
}

/** A project that has nothing but the package; imports everything in both languages. */
function useAsDependency(directory: string, tarball: string): void {
  const write = (name: string, text: string): void => writeFileSync(join(directory, name), text);
  write("package.json", JSON.stringify({ name: "consumer", private: true, type: "module" }));
  run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", tarball], directory);

  const names = specifiers();
  const imports = names.map((name, i) => `import * as m${i} from ${JSON.stringify(name)};`);
  const list = `[${names.map((_, i) => `m${i}`).join(", ")}]`;
  const uses = `for (const m of ${list}) if (Object.keys(m).length === 0) throw new Error("empty");`;
  write("main.js", [...imports, uses].join("\n"));
  run("node", ["main.js"], directory);

  write("main.ts", [...imports, `const modules: object[] = ${list};`, "void modules;"].join("\n"));
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  const flags = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext"];
  run("node", [compiler, ...flags, "--skipLibCheck", "false", "main.ts"], directory);

  for (const command of Object.keys(manifest.bin ?? {})) {
    const help = run("npx", ["--no-install", command, "--help"], directory);
    if (!help.toLowerCase().includes("usage")) throw new Error(`${command} --help shows no usage.`);
  }
  console.log(`package: ${names.join(", ")} can be imported`);
}

const directory = mkdtempSync(join(tmpdir(), "lowrank-package-"));
try {
  const { tarball, files } = pack(directory);
  const strays = strayFiles(files);
  if (strays.length > 0) {
    throw new Error(`These files should not ship (is dist/ stale?): ${strays.join(", ")}`);
  }
  const publint = join(root, "node_modules/publint/src/cli.js");
  run("node", [publint, "run", tarball, "--strict"], root);
  useAsDependency(directory, tarball);
  console.log(`package: ${files.length} files`);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}

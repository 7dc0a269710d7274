/** @file Options from a file: YAML, or JSON, which YAML includes. */
import { readFile } from "node:fs/promises";
import { isMap, isScalar, LineCounter, parseDocument } from "yaml";
import { utf8Bytes } from "../data/utf8.ts";
import { LowrankError } from "../errors.ts";
import { ioError } from "../io/io-errors.ts";
import type { CommandDefinition } from "./command.ts";
import { camelCase, findKey, kebabCase, optionsOf } from "./options.ts";
import { nearest } from "./suggest.ts";
import { parseValue } from "./values.ts";

export interface ConfigFile {
  /** By the keys of the command's schema. */
  readonly values: Readonly<Record<string, unknown>>;
  /** Where a key stands, as messages begin: "run.yaml: line 3: learning_rate". */
  place(key: string): string;
}

/** Keys of a run that mean nothing in a file. */
const NOT_IN_FILES: ReadonlySet<string> = new Set(["config"]);

/**
 * Read a file of options; keys may be in camelCase, kebab-case or snake_case, and aliases are accepted. Texts mean what they
 * mean on the command line: "query,value" is a list.
 * Throws LowrankError "usage" that lists broken YAML, unknown keys with near ones, and keys given twice;
 * "io" when the file cannot be read.
 */
export async function readConfigFile(
  file: string,
  definition: CommandDefinition,
): Promise<ConfigFile> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw ioError(file, "read the options", error);
  });
  const text = utf8Bytes(file, bytes).toString();
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, prettyErrors: false });
  const at = (offset: number): string => `${file}: line ${lineCounter.linePos(offset).line}`;
  const [broken] = document.errors;
  if (broken) {
    const why =
      broken.code === "MULTIPLE_DOCS"
        ? "expected one YAML document, got a second one"
        : `not YAML: ${broken.message}`;
    throw new LowrankError("usage", `${at(broken.pos[0])}: ${why}.`);
  }
  if (document.contents === null) return { values: {}, place: () => file };
  if (!isMap(document.contents)) {
    throw new LowrankError(
      "usage",
      `${file}: expected lines like "learning-rate: 0.001", got something else.`,
    );
  }

  const values: Record<string, unknown> = {};
  const places = new Map<string, string>();
  const problems: string[] = [];
  const schemas = new Map(optionsOf(definition).map(({ key, schema }) => [key, schema]));
  for (const { key: node, value } of document.contents.items) {
    const name = String(isScalar(node) ? node.value : node);
    const line = at(isScalar(node) ? (node.range?.[0] ?? 0) : 0);
    const key = findKey(definition, name);
    if (key === undefined || NOT_IN_FILES.has(key)) {
      problems.push(`${line}: there is no option "${name}".${hint(definition, name)}`);
    } else if (places.has(key)) {
      problems.push(`${line}: "${name}" is given twice, first as ${places.get(key)}.`);
    } else {
      places.set(key, `${line}: ${name}`);
      try {
        const given =
          (value as { toJS(document: unknown): unknown } | null)?.toJS(document) ?? null;
        values[key] = typeof given === "string" ? parseValue(given, schemas.get(key)!) : given;
      } catch (error) {
        // An alias without its anchor, or so many that they would fill the memory.
        problems.push(`${line}: ${name}: ${(error as Error).message}.`);
      }
    }
  }
  if (problems.length > 0) throw new LowrankError("usage", problems.join("\n"));
  return { values, place: (key) => places.get(key) ?? file };
}

function hint(definition: CommandDefinition, name: string): string {
  const known = optionsOf(definition)
    .filter(({ key }) => !NOT_IN_FILES.has(key))
    .map(({ flag }) => flag.slice(2));
  const near = nearest(kebabCase(camelCase(name)), known);
  return near.length > 0 ? ` Did you mean ${near.join(", ")}?` : " --help lists the options.";
}

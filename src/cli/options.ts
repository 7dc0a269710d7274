/** @file The options of a command: from its schema to flags, and from flags and a --config file to checked
 * values. Errors name the flag, or the file and line. */
import { z } from "zod";
import { LowrankError } from "../errors.ts";
import { kebabCase } from "../format.ts";
import type { CommandDefinition } from "./command.ts";
import type { ConfigFile } from "./config-file.ts";
import { expectation, placeholder, show, type ValueSchema } from "./values.ts";

export { kebabCase } from "../format.ts";

/** One option of a command. */
export interface OptionInfo {
  /** In the schema, e.g. "learningRate". */
  readonly key: string;
  /** E.g. "--learning-rate" or "-r, --rank". */
  readonly flags: string;
  /** The long form alone. */
  readonly flag: string;
  readonly schema: ValueSchema;
  /** What stands in angle brackets after it. */
  readonly placeholder: string;
  readonly required: boolean;
  /** Heading in --help. */
  readonly group: string;
}

/** Heading of options that belong to no group. */
const DEFAULT_GROUP = "Options";

/** All options of a command, in the order of its schema. */
export function optionsOf(definition: CommandDefinition): OptionInfo[] {
  const json = z.toJSONSchema(definition.schema, { io: "input" });
  const groups = Object.entries(definition.groups ?? {});
  return Object.entries((json.properties ?? {}) as Record<string, ValueSchema>).map(
    ([key, schema]) => {
      const flags = definition.flags?.[key] ?? `--${kebabCase(key)}`;
      const group = groups.find(([, keys]) => keys.includes(key))?.[0] ?? DEFAULT_GROUP;
      const required = json.required?.includes(key) ?? false;
      const named = definition.placeholders?.[key] ?? placeholder(schema);
      return { key, flags, flag: longFlag(flags), schema, placeholder: named, required, group };
    },
  );
}

const longFlag = (flags: string): string => flags.slice(flags.indexOf("--"));

/** learning-rate, learning_rate → learningRate */
export function camelCase(name: string): string {
  return name.replace(/[-_]+(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** The key that a spelling means: the key itself, its flag's name, an alias, in kebab or snake case. */
export function findKey(definition: CommandDefinition, name: string): string | undefined {
  const key = camelCase(name);
  if (key in definition.schema.shape) return key;
  const flags = Object.entries(definition.flags ?? {});
  const byFlag = flags.find(([, text]) => camelCase(longFlag(text).slice(2)) === key)?.[0];
  return byFlag ?? definition.aliases?.[key];
}

/** Flags in other spellings (aliases, snake_case) as the ones that --help shows. */
export function canonicalArguments(
  definition: CommandDefinition,
  args: readonly string[],
): string[] {
  const flags = new Map(optionsOf(definition).map(({ key, flag }) => [key, flag]));
  const end = args.indexOf("--");
  return args.map((argument, index) => {
    const match = /^--([^=]+)(=.*)?$/s.exec(argument);
    if (!match || (end !== -1 && index > end)) return argument;
    const [, name = "", value = ""] = match;
    const key = findKey(definition, name);
    return key === undefined ? argument : `${flags.get(key)}${value}`;
  });
}

/**
 * The checked options: a --config file's values, overridden by flags.
 * Throws one LowrankError("usage") that lists every problem.
 */
export function resolveOptions(
  definition: CommandDefinition,
  given: Readonly<Record<string, unknown>>,
  config?: ConfigFile,
): Record<string, unknown> {
  const values = { ...config?.values, ...given };
  const parsed = definition.schema.safeParse(values);
  if (parsed.success) return parsed.data;
  const options = new Map(optionsOf(definition).map((option) => [option.key, option]));
  const problems = parsed.error.issues.map(({ path, message }) => {
    const option = options.get(String(path[0]));
    if (!option) return message;
    const { key, flag, schema } = option;
    const value = values[key];
    if (value === undefined) return definition.missing?.[key] ?? missing(option);
    const where = key in given ? flag : (config?.place(key) ?? flag);
    return `${where}: expected ${expectation(schema)}, got ${show(value)}.`;
  });
  throw new LowrankError("usage", [...new Set(problems)].join("\n"));
}

function missing({ flag, schema }: OptionInfo): string {
  return `${flag} is missing: ${schema.description ?? expectation(schema)}.`;
}

/** A message of the library, with the names of options as flags. */
export function withFlagNames(definition: CommandDefinition, message: string): string {
  let result = message.replace(/^options: /, "");
  for (const { key, flag } of optionsOf(definition)) {
    // Short keys are words of their own: only where they are marked, or a problem begins with them ("device cuda:", but
    // "input 1:" is the first of several).
    const pattern = /[A-Z]/.test(key)
      ? `\\b${key}\\b`
      : `\`${key}\`|(?<=^|; )${key}(?=:| [a-z]\\S*:)`;
    result = result.replace(new RegExp(pattern, "g"), flag);
  }
  return result;
}

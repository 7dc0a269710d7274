/** @file Values of flags: from text to what a schema accepts, and how what it accepts is called. Works on
 * JSON Schema, so that every kind of value that zod knows is treated alike. */

/** The part of JSON Schema that options use. */
export interface ValueSchema {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly ValueSchema[];
  readonly items?: ValueSchema;
  readonly additionalProperties?: ValueSchema;
  readonly default?: unknown;
  readonly description?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
  /** The flag may be given several times, each time with one value of the list. */
  readonly repeatable?: boolean;
  /** What is accepted, in words, where types say too little. */
  readonly expected?: string;
}

/** A name as it stands in a list on the command line; "all-linear" and regular expressions are not. */
const PLAIN_NAME = /^[\w.]+$/;

/** The alternatives of a schema, none of them a choice itself. */
function alternatives(schema: ValueSchema): readonly ValueSchema[] {
  return schema.anyOf ? schema.anyOf.flatMap(alternatives) : [schema];
}

/** Whether a flag of this schema takes no value. */
export function isSwitch(schema: ValueSchema): boolean {
  return alternatives(schema).every(({ type }) => type === "boolean");
}

/**
 * The value that a text on the command line means: lists are separated by commas, maps are written
 * `name=value,name=value`. What fits no alternative stays text, for the schema to refuse.
 */
export function parseValue(text: string, schema: ValueSchema): unknown {
  if (schema.repeatable) return [text];
  const kinds = alternatives(schema);
  const accepts = (...types: string[]): boolean =>
    kinds.some(({ type = "" }) => types.includes(type));
  if (accepts("null") && (text === "null" || text === "none")) return null;
  if (accepts("boolean") && (text === "true" || text === "false")) return text === "true";
  if (accepts("number", "integer") && text.trim() !== "" && Number.isFinite(Number(text))) {
    return Number(text);
  }
  if (accepts("object"))
    return parseMap(
      text,
      kinds.find(({ type }) => type === "object")!,
    );
  const list = kinds.find(({ type }) => type === "array");
  if (list) {
    const parts = text.split(",").map((part) => part.trim());
    if (!accepts("string") || parts.every((part) => PLAIN_NAME.test(part))) {
      return parts.map((part) => parseValue(part, list.items ?? {}));
    }
  }
  return text;
}

function parseMap(text: string, { additionalProperties = {} }: ValueSchema): unknown {
  const entries = text.split(",").map((part) => {
    const equals = part.lastIndexOf("=");
    const [name, value] = [part.slice(0, equals), part.slice(equals + 1)];
    return equals < 1
      ? undefined
      : ([name.trim(), parseValue(value, additionalProperties)] as const);
  });
  return entries.includes(undefined) ? text : Object.fromEntries(entries as [string, unknown][]);
}

/** What stands in angle brackets after a flag, e.g. "number", "cpu|cuda". */
export function placeholder(schema: ValueSchema): string {
  if (schema.repeatable) return placeholder(schema.items ?? {});
  const names = alternatives(schema).flatMap((kind): string[] => {
    if (kind.enum) return kind.enum.map(String);
    if (kind.const !== undefined) return [String(kind.const)];
    if (kind.type === "array") return ["list"];
    if (kind.type === "object") return ["name=value"];
    if (kind.type === "boolean") return ["true", "false"];
    if (kind.type === "null") return [];
    return [kind.type === "string" ? "text" : (kind.type ?? "value")];
  });
  // A list of one is written like a text.
  const distinct = [...new Set(names)];
  return distinct.filter((name) => name !== "list" || !distinct.includes("integer")).join("|");
}

/** What a schema accepts, in words, e.g. "a number above 0", "one of cpu, cuda". */
export function expectation(schema: ValueSchema): string {
  return alternatives(schema).map(expectationOf).join(" or ");
}

function expectationOf(kind: ValueSchema): string {
  if (kind.expected !== undefined) return kind.expected;
  if (kind.enum) return `one of ${kind.enum.join(", ")}`;
  if (kind.const !== undefined) return JSON.stringify(kind.const);
  switch (kind.type) {
    case "string":
      return "a text";
    case "boolean":
      return "true or false";
    case "null":
      return "null";
    case "integer":
      return `a whole number${bounds(kind)}`;
    case "number":
      return `a number${bounds(kind)}`;
    case "array":
      return `a list (each ${expectation(kind.items ?? {})})`;
    case "object":
      return `names, each with ${expectation(kind.additionalProperties ?? {})}`;
    default:
      return "a value";
  }
}

function bounds(kind: ValueSchema): string {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = kind;
  const parts = [
    exclusiveMinimum === undefined ? "" : `above ${exclusiveMinimum}`,
    minimum === undefined || minimum <= Number.MIN_SAFE_INTEGER ? "" : `of at least ${minimum}`,
    exclusiveMaximum === undefined ? "" : `below ${exclusiveMaximum}`,
    maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER ? "" : `at most ${maximum}`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "" : ` ${parts.join(" and ")}`;
}

const MAX_SHOWN = 60;

/** A value in a message: quoted, and cut when long. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
}

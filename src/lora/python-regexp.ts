/** @file Python's regular expressions as JavaScript's. PEFT's patterns (target_modules, exclude_modules, rank_pattern, …) are
 * written for Python's `re`; where the two languages write the same thing differently it is rewritten, and what JavaScript
 * cannot express is an error. Source: https://docs.python.org/3/library/re.html#regular-expression-syntax */
import { LowrankError } from "../errors.ts";
import { execWithin } from "./bounded-match.ts";

/** What is used of a regular expression. Both throw LowrankError("config") where matching takes too long. */
export type Matcher = Pick<RegExp, "exec" | "test">;

/** Tokens that the two languages write differently, or that have to be skipped as a whole. Order matters. */
const TOKENS: readonly (readonly [RegExp, (match: RegExpExecArray) => string])[] = [
  [/\\A/y, () => "(?<![^])"],
  [/\\Z/y, () => "(?![^])"],
  [/\\a/y, () => String.raw`\x07`],
  [/\\[^]/y, ([text]) => text],
  [/\(\?P<([A-Za-z_]\w*)>/y, ([, name]) => `(?<${name}>`],
  [/\(\?P=([A-Za-z_]\w*)\)/y, ([, name]) => String.raw`\k<${name}>`],
  [/\(\?#[^)]*\)/y, () => ""],
  [/\{,(\d+)\}/y, ([, most]) => `{0,${most}}`],
  // A bracket right after the opening one stands for itself.
  [/\[\^?\]?(?:\\[^]|[^\]\\])*\]/y, ([text]) => text.replace(/^(\[\^?)\]/, String.raw`$1\]`)],
];

/** Atomic groups, conditions, possessive repetition: in no version of JavaScript. */
const INEXPRESSIBLE = /^\(\?(?:>|\()|^(?:[*+?]|\{\d*,?\d*\})\+/;

/** Flags at the beginning: `(?i)`. Those without a meaning for names of modules are accepted. */
const LEADING_FLAGS = /^\(\?([aiLmsux]+)\)/;

/**
 * The JavaScript expression for a Python one, put into `frame` (in place of "%"): `pythonRegExp(p, "^(?:%)$", …)` is
 * `re.fullmatch`, without "$" it is `re.match`. Throws LowrankError("config") that names `where`.
 */
export function pythonRegExp(source: string, frame: string, where: string): Matcher {
  const pattern = compile(source, frame, where);
  const exec = (text: string): RegExpExecArray | null => {
    const match = execWithin(pattern, text);
    if (match !== "too long") return match;
    throw new LowrankError(
      "config",
      `${where}: ${JSON.stringify(source)} takes more than a second to match ${JSON.stringify(text)}. ` +
        "Write it without repetitions within repetitions, or list the names.",
    );
  };
  return { exec, test: (text) => exec(text) !== null };
}

function compile(source: string, frame: string, where: string): RegExp {
  const flags = LEADING_FLAGS.exec(source);
  const body = source.slice(flags?.[0].length ?? 0);
  try {
    if (flags?.[1]?.includes("x")) throw new SyntaxError("the flag x");
    const kept = [...new Set(flags?.[1] ?? "")].filter((flag) => "ims".includes(flag));
    return new RegExp(
      frame.replace("%", () => translate(body)),
      kept.join(""),
    );
  } catch (cause) {
    throw new LowrankError(
      "config",
      `${where}: ${JSON.stringify(source)} is not a regular expression that is understood here. ` +
        "Write it with groups, classes and repetition alone, or list the names.",
      { cause },
    );
  }
}

function translate(source: string): string {
  let result = "";
  for (let offset = 0; offset < source.length;) {
    if (INEXPRESSIBLE.test(source.slice(offset))) throw new SyntaxError(source.slice(offset));
    const [text, replacement] = tokenAt(source, offset);
    result += replacement;
    offset += text.length;
  }
  return result;
}

function tokenAt(source: string, offset: number): readonly [text: string, replacement: string] {
  for (const [pattern, rewrite] of TOKENS) {
    pattern.lastIndex = offset;
    const match = pattern.exec(source);
    if (match) return [match[0], rewrite(match)];
  }
  return [source[offset]!, source[offset]!];
}

/**
 * @file Finds the text and the label column by their usual names, so that most data sets need no flag.
 */

import { LowrankError } from "../errors.ts";
import { columnOf, placeOf, show, summarize, type Table } from "./table.ts";

/** A kind of column. */
interface Role {
  /** What is in it, for descriptions and messages. */
  readonly what: string;
  /** Its usual names, compared without case, hyphens and underscores. */
  readonly names: readonly string[];
}

const role = (what: string, names: string): Role => ({ what, names: names.split(" ") });

/** What columns are for. A role's own name comes first among its usual ones. */
export const COLUMN_ROLES = {
  text: role(
    "the texts",
    "text texts sentence sentence1 text1 question1 sentence_a message content review question utterance document body title comment tweet post query input prompt description headline passage sms email premise",
  ),
  textPair: role(
    "the second texts of pairs",
    "text_pair text2 sentence2 question2 sentence_b hypothesis",
  ),
  label: role(
    "the labels",
    "label labels category class target intent sentiment tag label_text label_name class_name categories topic rating stars score gold_label is_duplicate similarity",
  ),
  question: role("the questions", "question questions query"),
  context: role("the texts that hold the answers", "context contexts passage paragraph document"),
  answers: role("the answers, with their places", "answers answer answer_text"),
  answerStart: role("the answers' places", "answer_start answer_starts"),
  tokens: role("the tokens", "tokens words"),
  tags: role("the tokens' tags", "tags ner_tags ner labels bio_tags tag"),
  spans: role("the entities' places in the text", "spans entities labels label annotations"),
  prompt: role("the prompts", "prompt instruction question source input"),
  completion: role("the completions", "completion response output answer target"),
} as const satisfies Record<string, Role>;

export type ColumnRole = keyof typeof COLUMN_ROLES;

/** The option that names a role's column: "textPairColumn". */
export const columnOption = <R extends ColumnRole>(role: R): `${R}Column` => `${role}Column`;

const wordsOf = (name: ColumnRole): string =>
  name.replace(/[A-Z]/g, (capital) => ` ${capital.toLowerCase()}`);

const plain = (name: string): string => name.trim().toLowerCase().replaceAll(/[-_ ]/g, "");

/** Columns with one of a role's usual names, or the one that is named exactly like the role. */
function namedLike(table: Table, name: ColumnRole): string[] {
  const usual = new Set(COLUMN_ROLES[name].names.map(plain));
  const fitting = table.columns.filter((column) => usual.has(plain(column)));
  const exact = fitting.filter((column) => plain(column) === plain(name));
  return exact.length === 1 ? exact : fitting;
}

/** The same for a role that a table may lack: undefined where no column has a usual name of it. */
export function findOptionalColumn(
  table: Table,
  name: ColumnRole,
  asked?: string,
): string | undefined {
  return asked === undefined && namedLike(table, name).length === 0
    ? undefined
    : findColumn(table, name, asked);
}

/**
 * The name of the column with a role.
 *
 * Without `asked`, the only column with a usual name; of several, the one that is named exactly like the role ("text",
 * "label"). A table of two columns of which exactly one is known as a text or label column gives the remaining one as
 * the other.
 *
 * @param asked the name the user gave: must be there exactly
 * @throws LowrankError "data" when there is no such column or several fit: names the columns and the option
 */
export function findColumn(table: Table, name: ColumnRole, asked?: string): string {
  const { columns, file } = table;
  const [words, option] = [wordsOf(name), columnOption(name)];
  const there = `The columns are ${columns.map((column) => show(column)).join(", ")}`;
  if (asked !== undefined) {
    if (columns.includes(asked)) return asked;
    const near = columns.find((column) => column.toLowerCase() === asked.toLowerCase());
    const hint = near === undefined ? "" : ` Did you mean ${show(near)}?`;
    throw new LowrankError(
      "data",
      `${file}: no ${words} column ${show(asked)}. ${there}; pass one with ${option}.${hint}`,
    );
  }

  const fitting = namedLike(table, name);
  if (fitting.length === 1 && fitting[0] !== undefined) return fitting[0];

  if (fitting.length === 0 && columns.length === 2 && (name === "text" || name === "label")) {
    const others = namedLike(table, name === "text" ? "label" : "text");
    const rest = columns.filter((column) => !others.includes(column));
    if (rest.length === 1 && rest[0] !== undefined) return rest[0];
  }

  const { names } = COLUMN_ROLES[name];
  const usual = `${names.slice(0, 8).join(", ")}${names.length > 8 ? ", …" : ""}`;
  const why =
    fitting.length === 0
      ? `no column has a usual name of a ${words} column (${usual})`
      : `${fitting.map((column) => show(column)).join(" and ")} could each be the ${words} column`;
  throw new LowrankError("data", `${file}: ${why}. ${there}; pass one with ${option}.`);
}

/**
 * The texts of a column. Numbers become their digits; an empty text is allowed.
 *
 * @throws LowrankError "data" naming the places where there is no text (missing, null, a list or an object)
 */
export function textValues(table: Table, name: string): string[] {
  const column = columnOf(table, name);
  const bad: string[] = [];
  const texts = column.values.map((value, index) => {
    if (typeof value === "string") return value;
    if (typeof value === "number" || typeof value === "boolean") return String(value);
    bad.push(
      `${placeOf(column, index)}: column ${show(name)}: expected a text, got ${show(value)}`,
    );
    return "";
  });
  if (bad.length > 0)
    throw new LowrankError("data", summarize(bad, "Give each row a text or remove it"));
  return texts;
}

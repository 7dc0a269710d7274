/**
 * @file Finds the text and the label column by their usual names, so that most data sets need no flag.
 */

import { LowrankError } from "../errors.ts";
import { columnOf, placeOf, show, summarize, type Table } from "./table.ts";

/** Usual names of a column of texts. Compared without case. */
export const TEXT_COLUMNS: readonly string[] =
  "text texts sentence message content review question utterance document body title comment tweet post query input prompt description headline passage sms email".split(
    " ",
  );

/** Usual names of a column of labels. Compared without case. */
export const LABEL_COLUMNS: readonly string[] =
  "label labels category class target intent sentiment tag label_text label_name class_name categories topic rating stars".split(
    " ",
  );

/** What a column is for. */
export type ColumnRole = "text" | "label";

const FLAGS: Record<ColumnRole, string> = { text: "--text-column", label: "--label-column" };

/** What to look for. */
export interface FindColumnOptions {
  /** The name the user gave: must be there exactly. */
  asked?: string | undefined;
  /** Names to look for otherwise (TEXT_COLUMNS, LABEL_COLUMNS). */
  candidates: readonly string[];
  role: ColumnRole;
}

/**
 * The name of the column with a role.
 *
 * Without `asked`, the only column with a candidate's name; of several, the one that is named exactly like the role
 * ("text", "label"). A table of two columns of which exactly one has a usual name of the *other* role gives the
 * remaining one.
 *
 * @throws LowrankError "data" when there is no such column or several fit: names the columns and the flag
 */
export function findColumn(table: Table, options: FindColumnOptions): string {
  const { asked, candidates, role } = options;
  const { columns, file } = table;
  const there = `The columns are ${columns.map((name) => show(name)).join(", ")}`;
  if (asked !== undefined) {
    if (columns.includes(asked)) return asked;
    const near = columns.find((name) => name.toLowerCase() === asked.toLowerCase());
    const hint = near === undefined ? "" : ` Did you mean ${show(near)}?`;
    throw new LowrankError(
      "data",
      `${file}: no ${role} column ${show(asked)}. ${there}; pass one with ${FLAGS[role]}.${hint}`,
    );
  }

  const named = (names: readonly string[]): string[] =>
    columns.filter((column) => names.includes(column.trim().toLowerCase()));
  const fitting = named(candidates);
  const exact = fitting.filter((column) => column.trim().toLowerCase() === role);
  if (exact.length === 1 && exact[0] !== undefined) return exact[0];
  if (fitting.length === 1 && fitting[0] !== undefined) return fitting[0];

  if (fitting.length === 0 && columns.length === 2) {
    const others = named(role === "text" ? LABEL_COLUMNS : TEXT_COLUMNS);
    const rest = columns.filter((column) => !others.includes(column));
    if (rest.length === 1 && rest[0] !== undefined) return rest[0];
  }

  const why =
    fitting.length === 0
      ? `no column has a usual name of a ${role} column (${candidates.slice(0, 8).join(", ")}, …)`
      : `${fitting.map((name) => show(name)).join(" and ")} could each be the ${role} column`;
  throw new LowrankError("data", `${file}: ${why}. ${there}; pass one with ${FLAGS[role]}.`);
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

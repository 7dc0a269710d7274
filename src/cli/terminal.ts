/** @file Writing to a terminal or a pipe: results on stdout, everything else on stderr; colours, numbers
 * and tables for people. */
import { formatCount } from "../format.ts";
import type { MetricTable } from "../tasks/task.ts";

export { formatBytes, formatCount, formatShare } from "../format.ts";

/** Write a result. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Write one JSON document as the result. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

/** Say something beside the result. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

const STYLES = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  yellow: [33, 39],
  cyan: [36, 39],
} as const;
export type Style = keyof typeof STYLES;

/** Whether a line that is written can be drawn anew: on a terminal that knows how to. */
export const isRedrawable = (stream: NodeJS.WriteStream): boolean =>
  stream.isTTY && process.env["TERM"] !== "dumb";

/** Whether a stream shows colours: a terminal, where the user has not refused (https://no-color.org), or what FORCE_COLOR
 * says, as in Node. */
export function hasColors(stream: NodeJS.WriteStream): boolean {
  const { FORCE_COLOR: forced, NO_COLOR: refused } = process.env;
  if (forced !== undefined) return forced !== "0" && forced !== "false";
  return isRedrawable(stream) && !refused;
}

/** Text in a style, where the stream shows colours. */
export function styled(stream: NodeJS.WriteStream, style: Style, text: string): string {
  const [on, off] = STYLES[style];
  return hasColors(stream) ? `\u001B[${on}m${text}\u001B[${off}m` : text;
}

type Cell = string | number;

/** Rows in aligned columns, two spaces apart; numbers to the right, with decimals where one has some. */
export function alignRows(rows: readonly (readonly Cell[])[], indent = ""): string {
  const count = Math.max(0, ...rows.map((row) => row.length));
  const columns = Array.from({ length: count }, (_, column) =>
    alignColumn(rows.map((row) => row[column] ?? "")),
  );
  return rows
    .map(
      (_, row) =>
        indent +
        columns
          .map((texts) => texts[row])
          .join("  ")
          .trimEnd(),
    )
    .join("\n");
}

function alignColumn(cells: readonly Cell[]): string[] {
  const numbers = cells.filter((cell) => typeof cell === "number");
  const format = numbers.every((number) => Number.isInteger(number))
    ? formatCount
    : (number: number) => number.toFixed(4);
  const texts = cells.map((cell) => (typeof cell === "number" ? format(cell) : oneLine(cell)));
  const width = Math.max(...texts.map((text) => text.length));
  return texts.map((text) => (numbers.length > 0 ? text.padStart(width) : text.padEnd(width)));
}

/** Control characters as JSON writes them: a label may hold any. */
const oneLine = (text: string): string =>
  text.replaceAll(/\p{Cc}/gu, (character) => JSON.stringify(character).slice(1, -1));

/** Characters of a table's cell; longer names lose their middle, since they often begin alike. */
const CELL_WIDTH = 48;

function shorten(cell: Cell): Cell {
  if (typeof cell === "number" || cell.length <= CELL_WIDTH) return cell;
  const half = (CELL_WIDTH - 1) / 2;
  return `${cell.slice(0, Math.ceil(half))}…${cell.slice(-Math.floor(half))}`;
}

/** A table with its title. */
export function formatTable({ title, columns, rows }: MetricTable): string {
  return `${title}\n${alignRows(
    [columns, ...rows].map((row) => row.map(shorten)),
    "  ",
  )}`;
}

/** A path as it can be pasted into a shell. */
export function shellWord(text: string): string {
  return /^[\w./@:+-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

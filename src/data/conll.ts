/**
 * @file CoNLL: a token a line with its tags in further columns, sentences separated by empty lines. As the shared tasks of
 * CoNLL and WNUT and most data sets for named-entity recognition are written (.conll, .bio, .iob, …).
 *
 * Columns are separated by tabs if the file has any, else by spaces. Lines of comments ("# …") and those that begin a
 * document ("-DOCSTART-") are skipped. A comment is told from a token "#" by its number of columns.
 */
import { LowrankError } from "../errors.ts";
import { linesOf, type Line } from "./lines.ts";
import { summarize, type Row, type Table } from "./table.ts";

/** Extensions of CoNLL files; others are read as CoNLL when their content looks like it. */
export const CONLL_EXTENSIONS: readonly string[] = [
  ".conll",
  ".bio",
  ".iob",
  ".iob2",
  ".iobes",
  ".bioes",
  ".ner",
];

/** Names of the first and the last column; those between are column2, column3, …. */
const TOKENS = "tokens";
const TAGS = "tags";

const DOCUMENT_START = "-DOCSTART-";
/** "# global.columns = ID FORM UPOS …" names the columns (CoNLL-U Plus). */
const NAMES = /^#\s*global\.columns\s*=\s*(.+)$/;
/** "O", "B-person". */
const TAG = /^(?:O|[BIESLUM][-_]\S+)$/;
/** Lines by which a file without a known extension is judged. */
const JUDGED_LINES = 50;

/** A line with its columns; none: an empty one. */
interface Cells extends Line {
  readonly cells: readonly string[];
}

/**
 * Reads a CoNLL file: a row a sentence, each column the list of its tokens' values: "tokens" (the first), "tags" (the
 * last), "column2" … between them. Row.line is the sentence's first line.
 *
 * @param bytes UTF-8 without a byte order mark
 * @throws LowrankError "data" naming the lines with another number of columns than the first
 */
export function readConll(file: string, bytes: Buffer): Table {
  const { lines, names } = tokenLines(bytes);
  const first = lines.find(({ cells }) => cells.length > 0);
  if (!first) throw new LowrankError("data", `${file}: expected tokens and tags, got none.`);
  const width = first.cells.length;
  if (width < 2) {
    throw new LowrankError(
      "data",
      `${file}: line ${first.line}: expected a token and its tag, separated by a tab or spaces, got one column. ` +
        "Write a token a line, its tag behind it, an empty line after each sentence.",
    );
  }
  const odd = lines
    .filter(({ cells }) => cells.length > 0 && cells.length !== width)
    .map(
      ({ line, cells }) =>
        `${file}: line ${line}: expected ${width} columns as on line ${first.line}, got ${cells.length}`,
    );
  if (odd.length > 0) {
    throw new LowrankError("data", summarize(odd, "Give each token all columns"));
  }
  const columns = names?.length === width ? names : columnNames(width);
  return { file, columns, rows: sentences(lines, columns), unit: "line" };
}

/** Whether a file without a known extension is one: its first lines all have the same number of columns, two at least,
 * the last a tag. */
export function looksLikeConll(bytes: Buffer): boolean {
  const { lines } = tokenLines(bytes, JUDGED_LINES);
  const tokens = lines.filter(({ cells }) => cells.length > 0);
  const width = tokens[0]?.cells.length ?? 0;
  return (
    width > 1 && tokens.every(({ cells }) => cells.length === width && TAG.test(cells.at(-1)!))
  );
}

function columnNames(width: number): string[] {
  return Array.from({ length: width }, (_, i) =>
    i === 0 ? TOKENS : i === width - 1 ? TAGS : `column${i + 1}`,
  );
}

/** Tokens with their columns and the empty lines between sentences, and the columns' names where a comment
 * has them; at most `limit` tokens. */
function tokenLines(
  bytes: Buffer,
  limit = Number.POSITIVE_INFINITY,
): { lines: Cells[]; names: string[] | undefined } {
  const separator = separatorOf(bytes);
  const lines: Cells[] = [];
  let names: string[] | undefined;
  let tokens = 0;
  let width = 0;
  for (const { line, text } of linesOf(bytes)) {
    if (tokens >= limit) break;
    const cells = cellsOf(text, separator);
    if (text.startsWith("#") && isComment(cells, width, separator)) {
      names ??= NAMES.exec(text)?.[1]!.trim().split(/\s+/);
      continue;
    }
    const isBreak = cells.length === 0 || cells[0] === DOCUMENT_START;
    lines.push({ line, text, cells: isBreak ? [] : cells });
    if (isBreak) continue;
    width ||= cells.length;
    tokens++;
  }
  return { lines, names };
}

/** A line that begins with "#" and has other columns than the tokens: those before it, else one with a tag. */
function isComment(cells: readonly string[], width: number, separator: RegExp): boolean {
  if (separator === TAB) return cells.length === 1;
  return width === 0 ? !TAG.test(cells.at(-1)!) : cells.length !== width;
}

const TAB = /\t/;
const SPACES = / +/;

/** By the first line that is neither empty nor a comment. */
function separatorOf(bytes: Buffer): RegExp {
  for (const { text } of linesOf(bytes)) {
    if (text.includes("\t") && text.trim() !== "") return TAB;
    if (text.trim() !== "" && !text.startsWith("#")) return SPACES;
  }
  return SPACES;
}

/** A token may be empty or white space of another kind; separators at the end separate nothing. */
function cellsOf(text: string, separator: RegExp): string[] {
  let end = text.length;
  while (end > 0 && (text[end - 1] === " " || text[end - 1] === "\t")) end--;
  return end === 0 ? [] : text.slice(0, end).split(separator);
}

function sentences(lines: readonly Cells[], columns: readonly string[]): Row[] {
  const rows: Row[] = [];
  let sentence: Cells[] = [];
  const end = (): void => {
    if (sentence.length === 0) return;
    const own = sentence;
    const values = columns.map((name, i) => [name, own.map(({ cells }) => cells[i])]);
    rows.push({ line: own[0]!.line, values: Object.fromEntries(values) as Row["values"] });
    sentence = [];
  };
  for (const line of lines) {
    if (line.cells.length === 0) end();
    else sentence.push(line);
  }
  end();
  return rows;
}

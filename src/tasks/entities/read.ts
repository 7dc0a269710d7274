/** @file Sentences with their tags from the rows of a table: lists of tokens and tags, or texts with the places of
 * their entities. */
import { findColumn, findOptionalColumn, textValues } from "../../data/columns.ts";
import { columnOf, placeOf, show, summarize, type Column, type Table } from "../../data/table.ts";
import { LowrankError } from "../../errors.ts";
import type { Columns } from "../options.ts";
import type { Input } from "../task.ts";
import { readSpans, type CharacterSpan, type SpanUnit } from "./spans.ts";
import {
  detectScheme,
  entitiesOf,
  parseTag,
  spellingOf,
  type Entity,
  type Tag,
  type WrittenScheme,
} from "./tags.ts";
import { joinWords, splitWords, type Words } from "./words.ts";

/** A text in words, W of them. */
export interface Sentence extends Words {
  readonly text: string;
  /** Words are those of a list, `text` has them with spaces between. */
  readonly tokens?: readonly string[];
}

/** A sentence and the entities in it. */
export interface TaggedSentence extends Sentence {
  readonly entities: readonly Entity[];
}

export interface TaggedSentences {
  readonly sentences: readonly TaggedSentence[];
  /** `file: line 3`, for messages. */
  readonly places: readonly string[];
  /** How the tags are written. */
  readonly scheme: WrittenScheme | "places in texts";
  readonly warnings: readonly string[];
}

/** Columns of tagged data, one pair of the two. */
export interface TagColumns {
  readonly tokensColumn?: string | undefined;
  readonly tagsColumn?: string | undefined;
  readonly textColumn?: string | undefined;
  readonly spansColumn?: string | undefined;
}

export interface ReadOptions extends TagColumns {
  /** Names of tags that are numbers. */
  readonly tagNames?: readonly string[] | undefined;
  readonly spanUnit: SpanUnit;
}

/** The columns of tokens and tags, or of texts and entities. Throws LowrankError("data"). */
export function findTagColumns(table: Table, asked: Columns): TagColumns {
  const tokensColumn = findTokens(table, asked);
  if (tokensColumn !== undefined) {
    const tagsColumn = findColumn(table, "tags", byNumber(table, asked.tagsColumn));
    return { tokensColumn, tagsColumn };
  }
  return {
    textColumn: findColumn(table, "text", asked.textColumn),
    spansColumn: findColumn(table, "spans", asked.spansColumn),
  };
}

/** The column of tokens; undefined where the table has texts. */
function findTokens(table: Table, asked: Columns): string | undefined {
  const isText = asked.textColumn !== undefined || asked.spansColumn !== undefined;
  const tokens = byNumber(table, asked.tokensColumn);
  return isText && tokens === undefined ? undefined : findOptionalColumn(table, "tokens", tokens);
}

/** A column that is asked for by its number, from 1, as columns of CoNLL files are. */
function byNumber(table: Table, asked: string | undefined): string | undefined {
  if (asked === undefined || table.columns.includes(asked) || !/^[1-9]\d*$/.test(asked))
    return asked;
  return table.columns[Number(asked) - 1] ?? asked;
}

/** The inputs of a table: { tokens } or { text }. Throws LowrankError("data"). */
export function readInputs(table: Table, asked: Columns): Input[] {
  const tokensColumn = findTokens(table, asked);
  if (tokensColumn !== undefined) {
    return readLists(columnOf(table, tokensColumn)).map((tokens) => ({ tokens }));
  }
  return readTexts(table, findColumn(table, "text", asked.textColumn)).map((text) => ({ text }));
}

/** Sentences of labelled data. Throws LowrankError("data") that lists the rows whose tags do not fit. */
export function readTagged(table: Table, options: ReadOptions & TagColumns): TaggedSentences {
  return options.tokensColumn === undefined ? readPlaces(table, options) : readTags(table, options);
}

/** The sentence of an input. Throws LowrankError("data"). @param where for the message */
export function sentenceOf({ tokens, text }: Input, where: string): Sentence {
  if (Array.isArray(tokens) && tokens.every((token) => typeof token === "string")) {
    return { ...joinWords(tokens), tokens };
  }
  if (typeof text === "string") return { text, ...splitWords(text) };
  throw new LowrankError(
    "data",
    `${where}: expected a text, or a list of tokens, got ${show(tokens ?? text)}. Pass { text } or { tokens }.`,
  );
}

function readTags(
  table: Table,
  { tokensColumn, tagsColumn, tagNames }: ReadOptions,
): TaggedSentences {
  const tokens = readLists(columnOf(table, tokensColumn!));
  const column = columnOf(table, tagsColumn!);
  const tags = readLists(column, tagNames);
  const uneven = tokens.flatMap(({ length }, i) =>
    length === tags[i]!.length
      ? []
      : [
          `${placeOf(column, i)}: expected a tag for each of the ${length} tokens, got ${tags[i]!.length}`,
        ],
  );
  if (uneven.length > 0)
    throw new LowrankError("data", summarize(uneven, "Give each token one tag"));

  const { spelling, odd } = spellingOf(tags.flat());
  if (odd.length > 0) {
    const row = tags.findIndex((list) => list.includes(odd[0]!));
    throw new LowrankError(
      "data",
      `${placeOf(column, row)}: column ${show(column.name)}: expected tags such as O, B-x and I-x, as others in the file, ` +
        `got ${odd.slice(0, 5).map(show).join(", ")}. Choose the column with tagsColumn, or correct the tags.`,
    );
  }
  const parsed = tags.map((list) => list.map((tag) => parseTag(tag, spelling)));
  const { scheme, strays } = detectScheme(parsed, spelling);
  return {
    sentences: tokens.map((words, i) => ({
      ...joinWords(words),
      tokens: words,
      entities: entitiesOf(parsed[i]!),
    })),
    places: tokens.map((_, i) => placeOf(column, i)),
    scheme,
    warnings: strayWarnings(column, scheme, strays, tags, parsed),
  };
}

function strayWarnings(
  column: Column,
  scheme: WrittenScheme,
  strays: readonly { sentence: number; word: number }[],
  tags: readonly (readonly string[])[],
  parsed: readonly (readonly Tag[])[],
): string[] {
  const [first] = strays;
  if (!first) return [];
  const { sentence, word } = first;
  const before =
    parsed[sentence]![word - 1]?.prefix === "O" || word === 0 ? "nothing" : "another entity";
  const number = strays.length === 1 ? "1 tag goes" : `${strays.length} tags go`;
  return [
    `${column.file}: ${number} on with an entity that was not begun, against ${scheme}: the first is ` +
      `${show(tags[sentence]![word])} after ${before}, ${column.unit} ${column.lines[sentence]}, token ${word + 1}. ` +
      "Each begins an entity.",
  ];
}

function readPlaces(
  table: Table,
  { textColumn, spansColumn, spanUnit }: ReadOptions,
): TaggedSentences {
  const texts = readTexts(table, textColumn!);
  const column = columnOf(table, spansColumn!);
  const problems: string[] = [];
  const sentences = texts.map((text, i): TaggedSentence => {
    const found = readSpans(column.values[i], text, spanUnit);
    problems.push(...found.problems.map((problem) => `${placeOf(column, i)}: ${problem}`));
    return found.problems.length > 0
      ? { text, starts: [], ends: [], entities: [] }
      : placed(text, found.spans);
  });
  if (problems.length > 0)
    throw new LowrankError("data", summarize(problems, "Correct the entities"));
  return {
    sentences,
    places: texts.map((_, i) => placeOf(column, i)),
    scheme: "places in texts",
    warnings: [],
  };
}

/** A text in words that end where entities do. */
function placed(text: string, spans: readonly CharacterSpan[]): TaggedSentence {
  const words = splitWords(
    text,
    spans.flatMap(({ start, end }) => [start, end]),
  );
  const entities = spans.map(({ type, start, end }) => ({
    type,
    first: words.ends.findIndex((wordEnd) => wordEnd > start),
    last: words.starts.findLastIndex((wordStart) => wordStart < end) + 1,
  }));
  return { text, ...words, entities };
}

/** Texts of a column, also as { text }. */
function readTexts(table: Table, name: string): string[] {
  const rows = table.rows.map((row) => {
    const value = row.values[name] as { text?: unknown } | null | undefined;
    return { ...row, values: { [name]: typeof value === "object" && value ? value.text : value } };
  });
  return textValues({ ...table, rows }, name);
}

/** Lists of words: lists, or texts with spaces between the words. Numbers are names' places where there are names. */
function readLists(column: Column, names?: readonly string[]): string[][] {
  const problems: string[] = [];
  const lists = column.values.map((value, i): string[] => {
    const problem = (what: string): string[] => {
      problems.push(`${placeOf(column, i)}: column ${show(column.name)}: ${what}`);
      return [];
    };
    const list = typeof value === "string" ? value.split(" ").filter((word) => word !== "") : value;
    if (!Array.isArray(list)) return problem(`expected a list, got ${show(value)}`);
    const texts = list.map((entry: unknown) => wordOf(entry, names));
    const bad = texts.findIndex((text) => text === undefined);
    return bad === -1
      ? (texts as string[])
      : problem(`expected ${kindOf(column, names)}, got ${show(list[bad])}`);
  });
  if (problems.length === 0) return lists;
  const isNumber = names === undefined && problems.some((problem) => /got -?\d+$/.test(problem));
  const remedy = isNumber
    ? "Where tags are numbers, pass their names in order by tagNames: O, B-person, I-person"
    : "Write a list for each row";
  throw new LowrankError("data", summarize(problems, remedy));
}

function wordOf(entry: unknown, names: readonly string[] | undefined): string | undefined {
  if (typeof entry === "string") return entry;
  return typeof entry === "number" ? names?.[entry] : undefined;
}

const kindOf = (column: Column, names: readonly string[] | undefined): string =>
  names ? `texts, or numbers from 0 to ${names.length - 1}` : "texts";

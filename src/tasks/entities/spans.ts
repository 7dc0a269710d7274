/** @file Entities as places in a text, in the forms that annotation tools write: { start, end, label }, [start, end,
 * label], { slot, valueSpan: { startIndex, endIndex } }, with other usual names, alone or in { entities: [...] }. */
import { isObject, show, type JsonObject } from "../../data/table.ts";

/** What places count. */
export const SPAN_UNITS = ["utf16", "characters"] as const;
export type SpanUnit = (typeof SPAN_UNITS)[number];

/** An entity's place in UTF-16 units. */
export interface CharacterSpan {
  readonly type: string;
  readonly start: number;
  readonly end: number;
}

const START = ["start", "start_offset", "startIndex", "begin", "from"];
const END = ["end", "end_offset", "endIndex", "stop", "to"];
const TYPE = ["label", "type", "entity_group", "entity", "tag", "slot", "category", "class"];
/** Places in an object of their own; a start of 0 may be absent there. */
const PLACE = ["valueSpan", "span"];

const firstOf = (object: JsonObject, names: readonly string[]): unknown =>
  object[names.find((name) => object[name] !== undefined) ?? ""];

/** A span as it was written, places not checked. */
interface RawSpan {
  readonly type: unknown;
  readonly start: unknown;
  readonly end: unknown;
  /** What should stand there. */
  readonly text?: unknown;
}

function rawSpan(value: unknown): RawSpan | undefined {
  if (Array.isArray(value)) {
    const [start, end, type] = value as unknown[];
    return value.length === 3 ? { start, end, type } : undefined;
  }
  if (!isObject(value)) return undefined;
  const place = firstOf(value, PLACE);
  const text = value["text"];
  return isObject(place)
    ? {
        type: firstOf(value, TYPE),
        start: firstOf(place, START) ?? 0,
        end: firstOf(place, END),
        text,
      }
    : { type: firstOf(value, TYPE), start: firstOf(value, START), end: firstOf(value, END), text };
}

/**
 * The entities of a text, by their places, and what is wrong with them: of another form, outside the text, within a
 * character, empty, overlapping, or of another text than they say.
 *
 * @param value of the column; nothing (null) is no entities
 */
export function readSpans(
  value: unknown,
  text: string,
  unit: SpanUnit,
): { spans: CharacterSpan[]; problems: string[] } {
  const list = isObject(value) && Array.isArray(value["entities"]) ? value["entities"] : value;
  if (list === null || list === undefined) return { spans: [], problems: [] };
  if (!Array.isArray(list)) {
    return { spans: [], problems: [`expected a list of entities, got ${show(value)}`] };
  }
  const problems: string[] = [];
  const spans: CharacterSpan[] = [];
  const toUnits = unit === "characters" ? characterPlaces(text) : (place: number) => place;
  const length = unit === "characters" ? [...text].length : text.length;
  for (const entry of list as unknown[]) {
    const raw = rawSpan(entry);
    const problem = raw
      ? problemOf(raw, length)
      : `expected { start, end, label }, got ${show(entry)}`;
    if (problem !== undefined) {
      problems.push(problem);
      continue;
    }
    const {
      start,
      end,
      type,
      text: said,
    } = raw as { start: number; end: number; type: string; text: unknown };
    const span = { type, start: toUnits(start), end: toUnits(end) };
    const wrong = misplaced(span, text, said);
    if (wrong === undefined) spans.push(span);
    else problems.push(`${show(entry)}: ${wrong}`);
  }
  spans.sort((a, b) => a.start - b.start || a.end - b.end);
  for (const [i, span] of spans.entries()) {
    const before = spans[i - 1];
    if (before && span.start < before.end) {
      problems.push(`${show(before)} and ${show(span)} overlap`);
    }
  }
  return { spans, problems };
}

function problemOf({ start, end, type }: RawSpan, length: number): string | undefined {
  const place = show([start, end]);
  if (typeof type !== "string" || type.trim() === "" || type === "O") {
    return `expected the entity's type as a text, got ${show(type)}`;
  }
  if (!Number.isInteger(start) || !Number.isInteger(end)) {
    return `expected whole numbers where ${show(type)} starts and ends, got ${place}`;
  }
  const [from, to] = [start as number, end as number];
  if (from < 0 || to > length || from >= to) {
    return `expected places within the ${length} characters of the text, got ${place} for ${show(type)}`;
  }
  return undefined;
}

const isLowSurrogate = (text: string, at: number): boolean =>
  /^[\udc00-\udfff]/.test(text.slice(at, at + 1));
const isHighSurrogate = (text: string, at: number): boolean =>
  at >= 0 && /^[\ud800-\udbff]/.test(text.slice(at, at + 1));

const UNIT_HINT =
  '. Where places count characters and not UTF-16 units, pass spanUnit "characters"';

/** Why a span cannot be where it says. */
function misplaced({ start, end }: CharacterSpan, text: string, said: unknown): string | undefined {
  const cutsAt = (place: number): boolean =>
    isHighSurrogate(text, place - 1) && isLowSurrogate(text, place);
  if (cutsAt(start) || cutsAt(end)) {
    return `it cuts a character in two${UNIT_HINT}`;
  }
  const own = text.slice(start, end);
  if (typeof said === "string" && said !== own) {
    const hint = /[\ud800-\udfff]/.test(text) ? UNIT_HINT : "";
    return `there stands ${show(own)}${hint}`;
  }
  return own.trim() === "" ? "there is only white space" : undefined;
}

/** From a place in characters (code points) to one in UTF-16 units. */
function characterPlaces(text: string): (place: number) => number {
  const places = [0];
  for (const character of text) places.push(places.at(-1)! + character.length);
  return (place) => places[place]!;
}

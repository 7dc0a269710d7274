/**
 * @file A text that knows, through normalization and splitting, where each of its characters came from. offsets.ts
 * follows a tokenizer's steps with it.
 */

/** A text made of an original one. Places are in UTF-16 units; characters are never cut in two. */
export interface Tracked {
  readonly text: string;
  /** Of each unit of `text`: where in the original the characters begin that it was made of, … */
  readonly starts: Int32Array;
  /** … and where they end. */
  readonly ends: Int32Array;
}

/** Texts without one, and lone surrogates, are single units; other characters beyond U+FFFF are two. */
const unitsAt = (text: string, index: number): number =>
  text.codePointAt(index)! > 0xffff ? 2 : 1;

/** An original text: each character comes from itself. */
export function track(text: string): Tracked {
  const starts = new Int32Array(text.length);
  const ends = new Int32Array(text.length);
  for (let i = 0; i < text.length;) {
    const next = i + unitsAt(text, i);
    starts.fill(i, i, next);
    ends.fill(next, i, next);
    i = next;
  }
  return { text, starts, ends };
}

/** The part from `from` to before `to`. */
export function part({ text, starts, ends }: Tracked, from: number, to = text.length): Tracked {
  return {
    text: text.slice(from, to),
    starts: starts.subarray(from, to),
    ends: ends.subarray(from, to),
  };
}

/** The range of the original that a part was made of; for an empty part, the place where it stands. */
export function originalRange(source: Tracked, from: number, to: number): [number, number] {
  const { starts, ends } = source;
  if (from === to) {
    const place = from < starts.length ? starts[from]! : (ends.at(-1) ?? 0);
    return [place, place];
  }
  let [start, end] = [starts[from]!, ends[from]!];
  for (let i = from + 1; i < to; i++) {
    start = Math.min(start, starts[i]!);
    end = Math.max(end, ends[i]!);
  }
  return [start, end];
}

/** Collects a new text. */
export class Writer {
  readonly #source: Tracked;
  readonly #texts: string[] = [];
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  constructor(source: Tracked) {
    this.#source = source;
  }

  /** A text that was made of all of a part of the source. */
  write(text: string, from: number, to: number): void {
    const [start, end] = originalRange(this.#source, from, to);
    this.#texts.push(text);
    for (let i = 0; i < text.length; i++) {
      this.#starts.push(start);
      this.#ends.push(end);
    }
  }

  /** A text whose units were made of those of the source from `from` on, one of each. */
  copy(text: string, from: number): void {
    const { starts, ends } = this.#source;
    this.#texts.push(text);
    for (let i = from; i < from + text.length; i++) {
      this.#starts.push(starts[i]!);
      this.#ends.push(ends[i]!);
    }
  }

  finish(): Tracked {
    const { length } = this.#starts;
    const tracked = { starts: new Int32Array(length), ends: new Int32Array(length) };
    tracked.starts.set(this.#starts);
    tracked.ends.set(this.#ends);
    return { text: this.#texts.join(""), ...tracked };
  }
}

/** Every match of a pattern replaced: the replacement comes from all of the match, a space from its end. */
export function replaced(source: Tracked, pattern: RegExp, content: string): Tracked {
  const writer = new Writer(source);
  let last = 0;
  for (const match of source.text.matchAll(pattern)) {
    const end = match.index + match[0].length;
    writer.copy(source.text.slice(last, match.index), last);
    writer.write(content, content === " " ? Math.max(match.index, end - 1) : match.index, end);
    last = end;
  }
  writer.copy(source.text.slice(last), last);
  return writer.finish();
}

/** A prefix; it comes from the first character, as in the Rust tokenizers. */
export function prefixed(source: Tracked, prefix: string): Tracked {
  const writer = new Writer(source);
  writer.write(prefix, 0, source.text === "" ? 0 : unitsAt(source.text, 0));
  writer.copy(source.text, 0);
  return writer.finish();
}

/** What can join the character before it: marks, vowels and final consonants of Hangul, sound marks of
 * half-width Katakana. */
const JOINS = String.raw`\p{M}\u1160-\u11ff\u3131-\u318e\uff9e-\uffdc`;

/** ASCII up to the last character before one that joins it, or a character and those that join it. */
const CLUSTERS = new RegExp(
  String.raw`[\0-\x7f]+(?![${JOINS}])|[^${JOINS}][${JOINS}]*|[${JOINS}]+`,
  "gu",
);

/**
 * A text after a function that works on each character by itself or together with those that join it: Unicode's
 * normal forms, lowercasing, removal of accents. Undefined where it does not.
 */
export function mapped(source: Tracked, map: (text: string) => string): Tracked | undefined {
  const { text } = source;
  const result = map(text);
  if (result === text) return source;
  const writer = new Writer(source);
  for (const { 0: cluster, index } of text.matchAll(CLUSTERS)) {
    mapCluster(writer, cluster, index, map);
  }
  const tracked = writer.finish();
  return oneSigma(tracked.text) === oneSigma(result) ? { ...tracked, text: result } : undefined;
}

/** Which lowercase sigma is the right one depends on its place in the word, not on the character alone. */
const oneSigma = (text: string): string => text.replaceAll("ς", "σ");

function mapCluster(
  writer: Writer,
  cluster: string,
  at: number,
  map: (text: string) => string,
): void {
  const whole = map(cluster);
  const characters = [...cluster];
  if (characters.length === 1) {
    writer.write(whole, at, at + cluster.length);
    return;
  }
  if (whole.length === cluster.length && /^[\0-\x7f]*$/.test(cluster)) {
    writer.copy(whole, at);
    return;
  }
  let images = characters.map(map);
  if (images.join("") !== whole) {
    images = [...whole]; // the same number: put into another order
    if (images.length !== characters.length) {
      writer.write(whole, at, at + cluster.length);
      return;
    }
  }
  let from = at;
  for (const [i, image] of images.entries()) {
    const to = from + characters[i]!.length;
    writer.write(image, from, to);
    from = to;
  }
}

/**
 * @file Where the tokens of a text stand in it. @huggingface/tokenizers 0.2.0 gives tokens without places, so this file
 * takes the library's steps one by one (added tokens, normalizer, added tokens, pre-tokenizer, model) and follows
 * the characters through each (tracked.ts). Every step's text is the library's own or compared with it: what cannot
 * be followed is an error, never a wrong place.
 *
 * Compared with the offsets of the Rust tokenizers: white space at a token's ends is left out (there, that depends on
 * the tokenizer), and a character that was composed of several comes from all of them (there, from the first).
 */
import { LowrankError } from "../errors.ts";
import type {
  AddedToken,
  BpeModel,
  Library,
  Normalizer,
  PreTokenizer,
  StepConfig,
  TokenModel,
} from "./library.ts";
import {
  mapped,
  originalRange,
  part,
  prefixed,
  replaced,
  track,
  type Tracked,
  Writer,
} from "./tracked.ts";

/** The tokens of a text and where they stand in it, in UTF-16 units as in JavaScript's strings; [T] each. */
export interface TokenSpans {
  readonly ids: Int32Array;
  readonly starts: Int32Array;
  /** One after the last unit. Tokens of a part of a character have the whole character's place. */
  readonly ends: Int32Array;
}

/** Why a text could not be followed. */
class NotAligned extends Error {}

/** A token as the library spells it, and the part of its piece that it stands for. */
interface Token {
  text: string;
  readonly start: number;
  end: number;
}

/**
 * A function that gives the tokens of a text, the same as encode's without special tokens, and their places.
 *
 * @param file the tokenizer's file, for messages
 * @throws LowrankError "tokenizer" that names text and file where a step of the tokenizer cannot be followed
 */
export function tokenSpans(library: Library, file: string): (text: string) => TokenSpans {
  return (text) => {
    try {
      return spansOf(library, text);
    } catch (error) {
      if (!(error instanceof NotAligned)) throw error;
      const shown = JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
      throw new LowrankError(
        "tokenizer",
        `${file}: the tokens of ${shown} cannot be placed in it: ${error.message}. Remove the text, or use another tokenizer.`,
        { cause: error },
      );
    }
  };
}

function spansOf(library: Library, text: string): TokenSpans {
  const { added_tokens_map: added, model } = library;
  const [ids, starts, ends]: [number[], number[], number[]] = [[], [], []];
  for (const { text: token, start, end } of tokensOf(library, text)) {
    const id = added.get(token)?.id ?? model.tokens_to_ids.get(token) ?? model.unk_token_id;
    if (id === undefined) throw new NotAligned(`${JSON.stringify(token)} has no id`);
    const [first, last] = trimmed(text, start, end);
    ids.push(id);
    starts.push(first);
    ends.push(last);
  }
  return {
    ids: Int32Array.from(ids),
    starts: Int32Array.from(starts),
    ends: Int32Array.from(ends),
  };
}

/** Without white space at the ends, unless there is nothing else. */
function trimmed(text: string, start: number, end: number): [number, number] {
  const own = text.slice(start, end);
  const before = own.length - own.trimStart().length;
  return before === own.length ? [start, end] : [start + before, start + own.trimEnd().length];
}

/** The tokens; start and end are places in the original. */
function tokensOf(library: Library, text: string): Token[] {
  const { splitter_unnormalized, splitter_normalized, added_tokens_map: added } = library;
  const { pre_tokenizer: split, tokenizer: configs } = library;
  return sections(track(text), splitter_unnormalized, added).flatMap((section, index) => {
    if (section.text === "") return [];
    if (added.has(section.text)) return [wholeToken(section)];
    const normal = normalized(library, section);
    if (normal.text === "") return [];
    return sections(normal, splitter_normalized, added).flatMap((inner) => {
      if (inner.text === "") return [];
      if (added.has(inner.text)) return [wholeToken(inner)];
      const cut = split ? pieces(inner, split, configs.pre_tokenizer!, index) : [inner];
      return modelTokens(library.model, cut);
    });
  });
}

function wholeToken(source: Tracked): Token {
  const [start, end] = originalRange(source, 0, source.text.length);
  return { text: source.text, start, end };
}

/** A text cut at added tokens, some of which take the white space beside them. */
function sections(
  source: Tracked,
  splitter: { split(text: string): string[] },
  added: ReadonlyMap<string, AddedToken>,
): Tracked[] {
  let at = 0;
  const cut = splitter.split(source.text).map((text) => {
    const section = part(source, at, at + text.length);
    at += text.length;
    return section;
  });
  for (const [i, { text }] of cut.entries()) {
    const token = added.get(text);
    const [before, after] = [cut[i - 1], cut[i + 1]];
    if (token?.lstrip && before) cut[i - 1] = part(before, 0, before.text.trimEnd().length);
    if (token?.rstrip && after) {
      cut[i + 1] = part(after, after.text.length - after.text.trimStart().length);
    }
  }
  return cut;
}

function normalized(library: Library, source: Tracked): Tracked {
  let result = source;
  if (library.remove_space === true) result = replaced(strip(result, true, true), /\s+/g, " ");
  if (library.do_lowercase_and_remove_accent) {
    result = followed(result, (text) => text.toLowerCase().replaceAll(/\p{M}/gu, ""));
  }
  const { normalizer, tokenizer } = library;
  return normalizer ? normalize(result, normalizer, tokenizer.normalizer!) : result;
}

/** A step of the normalizer, compared with the library's. */
function normalize(source: Tracked, normalizer: Normalizer, config: StepConfig): Tracked {
  const steps = config["normalizers"] as readonly StepConfig[];
  switch (config.type) {
    case "Sequence":
      return normalizer.normalizers!.reduce<Tracked>(
        (text, step, i) => (step ? normalize(text, step, steps[i]!) : text),
        source,
      );
    case "Replace":
      return sameText(replacedBy(source, normalizer, config), normalizer(source.text));
    case "Prepend":
      return sameText(prefixed(source, config["prepend"] as string), normalizer(source.text));
    case "Strip": {
      const { strip_left: left, strip_right: right } = config;
      return sameText(strip(source, left === true, right === true), normalizer(source.text));
    }
    default:
      return followed(source, normalizer);
  }
}

function replacedBy(
  source: Tracked,
  { pattern }: Normalizer | PreTokenizer,
  { content }: StepConfig,
): Tracked {
  return pattern ? replaced(source, pattern, (content as string | undefined) ?? "") : source;
}

function strip(source: Tracked, left: boolean, right: boolean): Tracked {
  const { text } = source;
  const from = left ? text.length - text.trimStart().length : 0;
  return part(source, from, right ? Math.max(from, text.trimEnd().length) : text.length);
}

function followed(source: Tracked, map: (text: string) => string): Tracked {
  const result = mapped(source, map);
  if (result) return result;
  throw new NotAligned("the normalizer does not treat its characters one by one");
}

function sameText(tracked: Tracked, expected: string): Tracked {
  if (tracked.text === expected) return tracked;
  throw new NotAligned(
    `a step gives ${JSON.stringify(expected)}, expected ${JSON.stringify(tracked.text)}`,
  );
}

/** The pieces that the model takes one by one. @param index of the section, which the pre-tokenizer asks for */
function pieces(
  source: Tracked,
  tokenizer: PreTokenizer,
  config: StepConfig,
  index: number,
): Tracked[] {
  if (config.type === "Sequence") {
    const steps = config["pretokenizers"] as readonly StepConfig[];
    return tokenizer.tokenizers!.reduce<Tracked[]>(
      (all, step, i) =>
        step ? all.flatMap((piece) => pieces(piece, step, steps[i]!, index)) : all,
      [source],
    );
  }
  const texts = tokenizer(source.text, { section_index: index });
  switch (config.type) {
    case "ByteLevel":
      return bytePieces(source, texts);
    case "Replace":
      return [sameText(replacedBy(source, tokenizer, config), texts[0]!)];
    case "Metaspace": {
      const spaced = replaced(source, / /g, tokenizer.str_rep!);
      const isSame = spaced.text === texts[0];
      return [isSame ? spaced : sameText(prefixed(spaced, tokenizer.str_rep!), texts[0]!)];
    }
    case "Split":
      return splitPieces(source, tokenizer.pattern!, config["invert"] === true, texts);
    default:
      return foundPieces(source, texts);
  }
}

/** Pieces with a character for each byte of their UTF-8, of a source that may get a space before it. */
function bytePieces(source: Tracked, texts: readonly string[]): Tracked[] {
  const bytes = inBytes(source);
  const total = texts.reduce((sum, text) => sum + text.length, 0);
  const whole = total === bytes.text.length + 1 ? inBytes(prefixed(source, " ")) : bytes;
  if (total !== whole.text.length) {
    throw new NotAligned("the pre-tokenizer left out some of its bytes");
  }
  let at = 0;
  return texts.map((text) => {
    const piece = part(whole, at, at + text.length);
    at += text.length;
    return { ...piece, text };
  });
}

/** As many units for each character as it has bytes; what they are does not matter. */
function inBytes(source: Tracked): Tracked {
  const writer = new Writer(source);
  let at = 0;
  for (const character of source.text) {
    const next = at + character.length;
    writer.write("?".repeat(Buffer.byteLength(character)), at, next);
    at = next;
  }
  return writer.finish();
}

/** Matches of a pattern, the texts between them, or both. */
function splitPieces(
  source: Tracked,
  pattern: RegExp,
  invert: boolean,
  texts: readonly string[],
): Tracked[] {
  const found: Tracked[] = [];
  let last = 0;
  const keep = (from: number, to: number): void => {
    const piece = part(source, from, to);
    if (piece.text !== "" && piece.text === texts[found.length]) found.push(piece);
  };
  for (const { 0: match, index } of source.text.matchAll(pattern)) {
    const end = index + match.length;
    if (!invert) keep(last, index);
    keep(index, end);
    last = end;
  }
  if (!invert) keep(last, source.text.length);
  if (found.length === texts.length) return found;
  throw new NotAligned(`the pre-tokenizer's ${JSON.stringify(texts[found.length])} is not in it`);
}

/** Pieces between which only white space was left out. */
function foundPieces(source: Tracked, texts: readonly string[]): Tracked[] {
  let at = 0;
  return texts.map((text) => {
    const from = source.text.indexOf(text, at);
    if (from === -1 || source.text.slice(at, from).trim() !== "") {
      throw new NotAligned(`the pre-tokenizer's ${JSON.stringify(text)} is not where it should be`);
    }
    at = from + text.length;
    return part(source, from, at);
  });
}

/** The model's tokens, neighbouring unknown ones as one where the model wants it so. */
function modelTokens(model: TokenModel, all: readonly Tracked[]): Token[] {
  const tokens: Token[] = [];
  let fusing = false;
  for (const piece of all) {
    for (const { text, start, end } of pieceTokens(model, piece.text)) {
      const [from, to] = originalRange(piece, start, end);
      const unknown = (model.tokens_to_ids.get(text) ?? model.unk_token_id) === model.unk_token_id;
      const last = tokens.at(-1);
      if (model.fuse_unk && unknown && fusing && last) {
        if (model.tokens_to_ids.get(last.text) !== model.unk_token_id) last.text += text;
        last.end = Math.max(last.end, to);
      } else tokens.push({ text, start: from, end: to });
      fusing = unknown;
    }
  }
  return tokens;
}

/** The tokens of a piece; start and end are places in it. */
function pieceTokens(model: TokenModel, piece: string): Token[] {
  if ("bpe" in model) return bpeTokens(model as BpeModel, piece);
  const texts = model.encode([piece]);
  const { continuing_subword_prefix: prefix } = model.config; // "##", of WordPiece alone
  if (prefix === undefined) return consecutive(piece, texts.map(withLength));
  if (texts.length === 1 && texts[0] === model.unk_token) {
    return consecutive(piece, [[texts[0]!, piece.length]]);
  }
  const { length } = prefix as string;
  return consecutive(
    piece,
    texts.map((text, i) => [text, text.length - (i === 0 ? 0 : length)]),
  );
}

const withLength = (text: string): [string, number] => [text, text.length];

/** As BPE.encode of the library: what is not in the vocabulary becomes bytes, the unknown token or nothing. */
function bpeTokens(model: BpeModel, piece: string): Token[] {
  const known = model.tokens_to_ids;
  if (model.ignore_merges && known.has(piece)) return consecutive(piece, [withLength(piece)]);
  const parts = model.bpe(piece);
  const last = model.end_of_word_suffix?.length ?? 0;
  const other = model.continuing_subword_suffix?.length ?? 0;
  const lengths = parts.map((text, i): [string, number] => [
    text,
    text.length - (i === parts.length - 1 ? last : other),
  ]);
  return consecutive(piece, lengths).flatMap((token) => {
    if (known.has(token.text)) return [token];
    const bytes = model.byte_fallback ? byteTokens(token.text) : [];
    if (bytes.length > 0 && bytes.every((text) => known.has(text))) {
      return bytes.map((text) => ({ text, start: token.start, end: token.end }));
    }
    return model.unk_token == null ? [] : [{ ...token, text: model.unk_token }];
  });
}

/** "<0xE2>" … for each byte. */
function byteTokens(text: string): string[] {
  return Array.from(
    new TextEncoder().encode(text),
    (byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
  );
}

/** Tokens one behind the other, of the given lengths, which make up the piece. */
function consecutive(piece: string, lengths: readonly (readonly [string, number])[]): Token[] {
  let at = 0;
  const tokens = lengths.map(([text, length]) => {
    const start = at;
    at += length;
    return { text, start, end: at };
  });
  if (at === piece.length) return tokens;
  throw new NotAligned(
    `the model's tokens of ${JSON.stringify(piece)} have ${at} characters, expected ${piece.length}`,
  );
}

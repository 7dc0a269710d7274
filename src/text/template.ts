/**
 * @file The special tokens that a model wants around a text or a pair of texts ([CLS] a [SEP] b [SEP]), found by
 * processing texts of one token that no vocabulary has.
 */
import { LowrankError } from "../errors.ts";
import type { Library } from "./library.ts";

/** Special tokens before, between and behind N texts, and token types (segments). */
export interface Template {
  /** N + 1 lists of token ids: before the first text, …, behind the last. */
  readonly specials: readonly (readonly number[])[];
  /** N + 1 lists: the types of the special tokens. */
  readonly specialTypes: readonly (readonly number[])[];
  /** N types: that of each text's tokens. */
  readonly textTypes: readonly number[];
  /** Number of special tokens. */
  readonly count: number;
}

/** Token ids with the special tokens of a template. T tokens. */
export interface Wrapped {
  /** [T] */
  readonly ids: Int32Array;
  /** [T] */
  readonly typeIds: Int32Array;
  /** Where each text's tokens begin in `ids`. */
  readonly places: readonly number[];
}

const PROBES = ["\0text\0", "\0pair\0"];

/** The template of one text or, as a pair, of two. Throws LowrankError("tokenizer") where the file has none. */
export function templateOf(library: Library, texts: 1 | 2): Template {
  const { post_processor: config } = library.tokenizer;
  if (texts === 2 && config?.type === "TemplateProcessing" && !config["pair"]) {
    throw new LowrankError(
      "tokenizer",
      'tokenizer.json: post_processor: expected a template for pairs of texts ("pair"), got none. ' +
        "Use single texts, or another tokenizer.",
    );
  }
  const probes = PROBES.slice(0, texts);
  const [first, second] = probes.map((probe) => [probe]);
  const processed = library.post_processor?.(first!, second ?? null, true);
  let tokens = processed?.tokens ?? probes;
  // The library leaves a pair without template in two lists.
  tokens = [...tokens, ...probes.filter((probe) => !tokens.includes(probe))];
  const types = typesOf(library, processed?.token_type_ids ?? [], tokens.length);

  const specials: number[][] = [[]];
  const specialTypes: number[][] = [[]];
  const textTypes: number[] = [];
  for (const [i, token] of tokens.entries()) {
    if (probes.includes(token)) {
      textTypes.push(types[i]!);
      specials.push([]);
      specialTypes.push([]);
    } else {
      specials.at(-1)!.push(library.token_to_id(token) ?? 0);
      specialTypes.at(-1)!.push(types[i]!);
    }
  }
  return { specials, specialTypes, textTypes, count: tokens.length - texts };
}

/** RoBERTa has one segment; the library gives the second text another. */
function typesOf(library: Library, given: readonly number[], length: number): number[] {
  const one = library.tokenizer.post_processor?.type === "RobertaProcessing";
  return Array.from({ length }, (_, i) => (one ? 0 : (given[i] ?? 0)));
}

/** Puts the special tokens around and between texts; as many texts as the template is for. */
export function wrapTokens(template: Template, texts: readonly ArrayLike<number>[]): Wrapped {
  const { specials, specialTypes, textTypes, count } = template;
  const total = texts.reduce((sum, { length }) => sum + length, count);
  const wrapped = { ids: new Int32Array(total), typeIds: new Int32Array(total) };
  const places: number[] = [];
  let at = 0;
  for (const [i, tokens] of specials.entries()) {
    wrapped.ids.set(tokens, at);
    wrapped.typeIds.set(specialTypes[i]!, at);
    at += tokens.length;
    const text = texts[i];
    if (!text) break;
    places.push(at);
    wrapped.ids.set(text, at);
    wrapped.typeIds.fill(textTypes[i]!, at, at + text.length);
    at += text.length;
  }
  return { ...wrapped, places };
}

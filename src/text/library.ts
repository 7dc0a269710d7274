/**
 * @file What this library uses of @huggingface/tokenizers 0.2.0 beyond its Tokenizer's encode and decode. Its own
 * declarations leave these parts out, or name files that Node's module resolution does not find.
 */

/** A step of tokenizer.json: its type and settings. */
export interface StepConfig {
  readonly type: string;
  readonly [setting: string]: unknown;
}

/** "Sequence" has `normalizers`, "Replace" a `pattern`. */
export interface Normalizer {
  (text: string): string;
  readonly normalizers?: readonly (Normalizer | null)[];
  readonly pattern?: RegExp | null;
}

/** "Sequence" has `tokenizers`, "Split" and "Replace" a `pattern`, "Metaspace" what spaces become. */
export interface PreTokenizer {
  (text: string, options: { section_index: number }): string[];
  readonly tokenizers?: readonly (PreTokenizer | null)[];
  pattern?: RegExp | null;
  readonly str_rep?: string;
}

export interface TokenModel {
  readonly config: Readonly<Record<string, unknown>>;
  readonly tokens_to_ids: ReadonlyMap<string, number>;
  readonly unk_token_id?: number;
  readonly unk_token?: string | null;
  readonly fuse_unk: boolean;
  /** The tokens of pieces, unknown ones not yet fused. */
  encode(pieces: string[]): string[];
}

export interface BpeModel extends TokenModel {
  readonly ignore_merges: boolean;
  readonly byte_fallback: boolean;
  readonly end_of_word_suffix?: string | null;
  readonly continuing_subword_suffix?: string | null;
  /** The parts of a piece, each a token if the vocabulary has it. */
  bpe(piece: string): string[];
}

export interface AddedToken {
  readonly id: number;
  /** Whether white space before (behind) it belongs to it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

export interface PostProcessor {
  (
    text: readonly string[],
    pair: readonly string[] | null,
    addSpecialTokens: boolean,
  ): { tokens: string[]; token_type_ids?: number[] };
}

/** Cuts a text at the added tokens in it; what it gives makes up the text. */
interface Splitter {
  split(text: string): string[];
}

export interface Library {
  /** tokenizer.json */
  readonly tokenizer: Readonly<
    Record<"normalizer" | "pre_tokenizer" | "post_processor", StepConfig | null>
  >;
  readonly splitter_unnormalized: Splitter;
  readonly splitter_normalized: Splitter;
  readonly added_tokens_map: ReadonlyMap<string, AddedToken>;
  /** Of tokenizer_config.json. */
  readonly remove_space?: boolean;
  readonly do_lowercase_and_remove_accent: boolean;
  readonly normalizer: Normalizer | null;
  readonly pre_tokenizer: PreTokenizer | null;
  readonly model: TokenModel;
  readonly post_processor: PostProcessor | null;
  token_to_id(token: string): number | undefined;
}

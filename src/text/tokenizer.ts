/**
 * @file A model's tokenizer, from its directory's tokenizer.json (and tokenizer_config.json, special_tokens_map.json),
 * by @huggingface/tokenizers. Adds what that library leaves to its caller: truncation as in transformers, ids of special
 * tokens, errors, and BERT's normalization as the Rust tokenizers do it (bert-normalizer.ts).
 *
 * tokenizer.json's own truncation and padding blocks are ignored: they record how its author last used it (all-MiniLM:
 * both 128), whereas length and padding belong to the task.
 */

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers";
import { LowrankError, requirePath } from "../errors.ts";
import { bertNormalizer } from "./bert-normalizer.ts";
import type { Library, PreTokenizer, StepConfig } from "./library.ts";
import { tokenSpans, type TokenSpans } from "./offsets.ts";
import { templateOf, wrapTokens, type Template, type Wrapped } from "./template.ts";

/** Turns texts into token ids and back. */
export interface Tokenizer {
  /** One more than the largest id, so the rows that an embedding needs. */
  vocabSize: number;
  /** Undefined where the files name no padding token (GPT-2). */
  padTokenId: number | undefined;
  bosTokenId: number | undefined;
  eosTokenId: number | undefined;
  /** Whether texts that are too long lose their beginning instead of their end. */
  truncateLeft: boolean;
  /** All tokens of a text with the special tokens around it ([CLS] … [SEP]). ids, typeIds: [T] */
  encode(text: string): { ids: number[]; typeIds: number[] };
  /**
   * The tokens of each text, with special tokens, at most maxLength: the text's tokens are cut, special tokens stay.
   * ids: [B] of [T]. `truncated`: how many texts were cut.
   *
   * @throws LowrankError "usage" when maxLength leaves no room for the text
   */
  encodeBatch(
    texts: readonly string[],
    options: { maxLength: number },
  ): { ids: Int32Array[]; truncated: number };
  /**
   * The tokens of a text, without special tokens, and where they stand in it.
   *
   * @throws LowrankError "tokenizer" where that cannot be told
   */
  tokenize(text: string): TokenSpans;
  /** Special tokens around the token ids of one text or of a pair: [CLS] a [SEP] b [SEP]. */
  wrap(
    texts: readonly [ArrayLike<number>] | readonly [ArrayLike<number>, ArrayLike<number>],
  ): Wrapped;
  /** How many special tokens `wrap` adds to one text or to a pair. */
  specialTokens(texts: 1 | 2): number;
  /** The text of tokens, special tokens included unless asked otherwise. */
  decode(ids: readonly number[], options?: { skipSpecialTokens?: boolean }): string;
  /** The id of a token as the vocabulary spells it, e.g. "[CLS]". */
  tokenId(token: string): number | undefined;
  /** Paths of the tokenizer's files, to copy beside an adapter. */
  files: string[];
}

/** Files that belong to a tokenizer, as transformers writes them. */
const TOKENIZER_FILES: readonly string[] = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "vocab.json",
  "vocab.txt",
  "merges.txt",
  "tokenizer.model",
  "spiece.model",
];

const MODEL_TYPES = ["BPE", "WordPiece", "Unigram"];

type JsonObject = Record<string, unknown>;

/**
 * Loads the tokenizer of a model directory.
 *
 * @throws LowrankError "tokenizer" for a missing or invalid file and for parts that are not supported
 */
export async function loadTokenizer(directory: string): Promise<Tokenizer> {
  requirePath("loadTokenizer", directory);
  const file = join(directory, "tokenizer.json");
  const json = await readJsonObject(file);
  if (json === undefined) {
    throw new LowrankError(
      "tokenizer",
      `${file}: there is no such file. Expected a model directory with a tokenizer.json; for one with older files only, ` +
        "write it in Python: AutoTokenizer.from_pretrained(directory).save_pretrained(directory).",
    );
  }
  const config = (await readJsonObject(join(directory, "tokenizer_config.json"))) ?? {};
  const specials = (await readJsonObject(join(directory, "special_tokens_map.json"))) ?? {};
  const library = build(file, json, config);
  const files = TOKENIZER_FILES.map((name) => join(directory, name)).filter((path) =>
    existsSync(path),
  );
  const special = (role: string): number | undefined => {
    const name = tokenContent(config[role]) ?? tokenContent(specials[role]);
    return name === undefined ? undefined : library.token_to_id(name);
  };
  const pad = special("pad_token") ?? paddingBlockId(json, library);
  return tried(file, () => {
    const tokenizer = wrap(library, {
      file,
      files,
      padTokenId: pad,
      bosTokenId: special("bos_token"),
      eosTokenId: special("eos_token"),
      truncateLeft: config["truncation_side"] === "left",
    });
    tokenizer.encode(SAMPLE);
    return tokenizer;
  });
}

/** Letters, digits, marks and a character of two units: a broken tokenizer is to fail when it is loaded, not at some text. */
const SAMPLE = "One 1, (two) é 漢 😀!";

/** What `make` gives; what the tokenizers' library throws at a file that it does not understand becomes our error. */
function tried<T>(file: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof LowrankError) throw error;
    throw new LowrankError(
      "tokenizer",
      `${file}: ${(error as Error).message.replace(/\.$/, "")}. Use the tokenizer.json of a Hugging Face model.`,
      { cause: error },
    );
  }
}

async function readJsonObject(file: string): Promise<JsonObject | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new LowrankError("tokenizer", `${file}: the file cannot be read (${code}).`, {
      cause: error,
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new LowrankError(
      "tokenizer",
      `${file}: invalid JSON: ${(error as Error).message}. Download the file again.`,
      { cause: error },
    );
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as JsonObject;
  throw new LowrankError("tokenizer", `${file}: expected a JSON object. Download the file again.`);
}

function build(file: string, json: JsonObject, config: JsonObject): LibraryTokenizer {
  const model = json["model"];
  if (typeof model !== "object" || model === null || !("vocab" in model)) {
    throw new LowrankError(
      "tokenizer",
      `${file}: expected a "model" with a "vocab". Use the tokenizer.json of a Hugging Face model.`,
    );
  }
  const type = (model as JsonObject)["type"]; // older files (GPT-2) leave it out
  if (type !== undefined && !MODEL_TYPES.includes(String(type))) {
    throw new LowrankError(
      "tokenizer",
      `${file}: unsupported model type, expected ${MODEL_TYPES.join(", ")}, got ${JSON.stringify(type)}.`,
    );
  }
  return tried(file, () => {
    const library = new LibraryTokenizer(json, { clean_up_tokenization_spaces: false, ...config });
    const normalizer = json["normalizer"] as JsonObject | null | undefined;
    if (normalizer?.["type"] === "BertNormalizer") {
      // The library only ever calls its normalizer.
      library.normalizer = bertNormalizer(normalizer) as unknown as typeof library.normalizer;
    }
    if (type === "Unigram") avoidSpread(library);
    const parts = library as unknown as Library;
    if (parts.pre_tokenizer) countAllDigits(parts.pre_tokenizer, parts.tokenizer.pre_tokenizer!);
    return library;
  });
}

/** The library's Unigram passes all pieces of a text as arguments of one call: a long text overflows the stack. */
function avoidSpread(library: LibraryTokenizer): void {
  const model = library.model as unknown as {
    tokenize(text: string): string[];
    encode(texts: string[]): string[];
  };
  model.encode = (texts) => texts.flatMap((text) => model.tokenize(text));
}

/** Rust's Digits splits at all numbers of Unicode (٣, ½, Ⅷ), the library's at those of ASCII. */
function countAllDigits(tokenizer: PreTokenizer, config: StepConfig): void {
  if (config.type === "Digits") {
    const { individual_digits: single } = config;
    tokenizer.pattern = new RegExp(String.raw`\P{N}+|\p{N}${single === true ? "" : "+"}`, "gu");
  }
  const steps = config["pretokenizers"] as readonly StepConfig[] | undefined;
  for (const [i, step] of (tokenizer.tokenizers ?? []).entries()) {
    if (step) countAllDigits(step, steps![i]!);
  }
}

/** A token in a configuration: its text, or an object with the text as content. */
function tokenContent(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null) return undefined;
  const content = (value as JsonObject)["content"];
  return typeof content === "string" ? content : undefined;
}

/** The padding block's token: the only place that names it where there is no tokenizer_config.json. */
function paddingBlockId(json: JsonObject, library: LibraryTokenizer): number | undefined {
  const padding = json["padding"];
  if (typeof padding !== "object" || padding === null) return undefined;
  const token = (padding as JsonObject)["pad_token"];
  return typeof token === "string" ? library.token_to_id(token) : undefined;
}

interface WrapOptions {
  file: string;
  files: string[];
  padTokenId: number | undefined;
  bosTokenId: number | undefined;
  eosTokenId: number | undefined;
  truncateLeft: boolean;
}

function wrap(library: LibraryTokenizer, options: WrapOptions): Tokenizer {
  const { file, ...properties } = options;
  const { truncateLeft } = properties;
  const parts = library as unknown as Library;
  const single = templateOf(parts, 1);
  let pair: Template | undefined; // some files have none
  const template = (texts: number): Template => {
    if (texts === 1) return single;
    pair ??= templateOf(parts, 2);
    return pair;
  };
  const around = single.count;
  const textIds = (text: string): number[] =>
    library.encode(text, { add_special_tokens: false }).ids;

  return {
    ...properties,
    vocabSize: vocabSizeOf(library),
    encode(text) {
      const { ids, typeIds } = wrapTokens(single, [textIds(text)]);
      return { ids: Array.from(ids), typeIds: Array.from(typeIds) };
    },
    encodeBatch(texts, { maxLength }) {
      const room = maxLength - around;
      if (!Number.isInteger(maxLength) || room < 1) {
        throw new LowrankError(
          "usage",
          `maxLength: expected a whole number of at least ${around + 1} (${around} special tokens and a text), ` +
            `got ${maxLength}.`,
        );
      }
      let truncated = 0;
      const ids = texts.map((text) => {
        let tokens = textIds(text);
        if (tokens.length > room) {
          truncated++;
          tokens = truncateLeft ? tokens.slice(tokens.length - room) : tokens.slice(0, room);
        }
        return wrapTokens(single, [tokens]).ids;
      });
      return { ids, truncated };
    },
    tokenize: tokenSpans(parts, file),
    wrap: (texts) => wrapTokens(template(texts.length), texts),
    specialTokens: (texts) => template(texts).count,
    decode(ids, { skipSpecialTokens = false } = {}) {
      if (ids.length === 0) return "";
      return library.decode([...ids], { skip_special_tokens: skipSpecialTokens });
    },
    tokenId: (token) => library.token_to_id(token),
  };
}

function vocabSizeOf(library: LibraryTokenizer): number {
  let size = 0;
  for (const id of library.get_vocab().values()) size = Math.max(size, id + 1);
  return size;
}

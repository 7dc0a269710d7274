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
import { LowrankError } from "../errors.ts";
import { bertNormalizer } from "./bert-normalizer.ts";

/** Turns texts into token ids and back. */
export interface Tokenizer {
  /** One more than the largest id, so the rows that an embedding needs. */
  vocabSize: number;
  /** Undefined where the files name no padding token (GPT-2). */
  padTokenId: number | undefined;
  bosTokenId: number | undefined;
  eosTokenId: number | undefined;
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
  /** The text of tokens, special tokens included unless asked otherwise. */
  decode(ids: readonly number[], options?: { skipSpecialTokens?: boolean }): string;
  /** The id of a token as the vocabulary spells it, e.g. "[CLS]". */
  tokenId(token: string): number | undefined;
  /** Paths of the tokenizer's files, to copy beside an adapter. */
  files: string[];
}

/** Files that belong to a tokenizer, as transformers writes them. */
export const TOKENIZER_FILES: readonly string[] = [
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

/** Tokens that the post-processor puts around a text, and the token types of all three parts. */
interface Template {
  prefix: number[];
  suffix: number[];
  prefixTypes: number[];
  textType: number;
  suffixTypes: number[];
}

/**
 * Loads the tokenizer of a model directory.
 *
 * @throws LowrankError "tokenizer" for a missing or invalid file and for parts that are not supported
 */
export async function loadTokenizer(directory: string): Promise<Tokenizer> {
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
  return wrap(library, {
    files,
    padTokenId: pad,
    bosTokenId: special("bos_token"),
    eosTokenId: special("eos_token"),
    truncateLeft: config["truncation_side"] === "left",
  });
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
  try {
    const library = new LibraryTokenizer(json, { clean_up_tokenization_spaces: false, ...config });
    const normalizer = json["normalizer"] as JsonObject | null | undefined;
    if (normalizer?.["type"] === "BertNormalizer") {
      // The library only ever calls its normalizer.
      library.normalizer = bertNormalizer(normalizer) as unknown as typeof library.normalizer;
    }
    if (type === "Unigram") avoidSpread(library);
    return library;
  } catch (error) {
    throw new LowrankError("tokenizer", `${file}: ${(error as Error).message}.`, { cause: error });
  }
}

/** The library's Unigram passes all pieces of a text as arguments of one call: a long text overflows the stack. */
function avoidSpread(library: LibraryTokenizer): void {
  const model = library.model as unknown as {
    tokenize(text: string): string[];
    encode(texts: string[]): string[];
  };
  model.encode = (texts) => texts.flatMap((text) => model.tokenize(text));
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

/** Finds the template by processing a text of one token that no vocabulary has. */
function templateOf(library: LibraryTokenizer): Template {
  const probe = "\u0000text\u0000";
  const processed = library.post_processor?.([probe], null, true) ?? { tokens: [probe] };
  const { tokens } = processed;
  const types = processed.token_type_ids ?? tokens.map(() => 0);
  const at = tokens.indexOf(probe);
  const idOf = (token: string): number => library.token_to_id(token) ?? 0;
  return {
    prefix: tokens.slice(0, at).map(idOf),
    suffix: tokens.slice(at + 1).map(idOf),
    prefixTypes: types.slice(0, at),
    textType: types[at] ?? 0,
    suffixTypes: types.slice(at + 1),
  };
}

interface WrapOptions {
  files: string[];
  padTokenId: number | undefined;
  bosTokenId: number | undefined;
  eosTokenId: number | undefined;
  truncateLeft: boolean;
}

function wrap(library: LibraryTokenizer, options: WrapOptions): Tokenizer {
  const { truncateLeft, ...properties } = options;
  const { prefix, suffix, prefixTypes, textType, suffixTypes } = templateOf(library);
  const around = prefix.length + suffix.length;
  const textIds = (text: string): number[] =>
    library.encode(text, { add_special_tokens: false }).ids;

  return {
    ...properties,
    vocabSize: vocabSizeOf(library),
    encode(text) {
      const ids = textIds(text);
      return {
        ids: [...prefix, ...ids, ...suffix],
        typeIds: [...prefixTypes, ...ids.map(() => textType), ...suffixTypes],
      };
    },
    encodeBatch(texts, { maxLength }) {
      const room = maxLength - around;
      if (!Number.isInteger(maxLength) || room < 1) {
        throw new LowrankError(
          "usage",
          `maximum length: expected a whole number from ${around + 1} (${around} special tokens and a text), ` +
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
        const row = new Int32Array(tokens.length + around);
        row.set(prefix, 0);
        row.set(tokens, prefix.length);
        row.set(suffix, prefix.length + tokens.length);
        return row;
      });
      return { ids, truncated };
    },
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

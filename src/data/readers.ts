/**
 * @file Reads a data file into a Table: CSV, TSV, JSON, JSON lines, Parquet, CoNLL, by the file's extension. One file per
 * format beside this one turns bytes into columns and rows; this one opens files and names what is wrong with them.
 */

import { open, readFile, type FileHandle } from "node:fs/promises";
import { extname } from "node:path";
import { LowrankError, requirePath } from "../errors.ts";
import { CONLL_EXTENSIONS, looksLikeConll, readConll } from "./conll.ts";
import { readDelimited } from "./delimited.ts";
import { readJson, readJsonLines } from "./json.ts";
import { readParquet } from "./parquet.ts";
import { readPlainText } from "./plain-text.ts";
import type { HeaderOption, Table } from "./table.ts";
import { utf8Bytes } from "./utf8.ts";

export type { Row, Table } from "./table.ts";

/** File extensions that readTable knows. */
const TABLE_EXTENSIONS: readonly string[] = [
  ".csv",
  ".tsv",
  ".json",
  ".jsonl",
  ".ndjson",
  ".parquet",
  ".txt",
  ...CONLL_EXTENSIONS,
];

/** As much of a file as is looked at to tell whether it is CoNLL. */
const JUDGED_BYTES = 2 ** 16;

/** How to read a table. */
export interface ReadTableOptions {
  /** Whether a CSV or TSV file's first line names the columns; "auto" decides by its content (delimited.ts). */
  header?: HeaderOption;
}

/**
 * Reads a data file.
 *
 * @param file a path; its extension tells the format (TABLE_EXTENSIONS). Text files, and those of other extensions, are
 *   read as CoNLL when their content looks like it
 * @throws LowrankError "data" naming file and line: unknown extension, missing or empty file, text that is not UTF-8,
 *   broken quoting or JSON, rows of another width, no rows, columns of one name
 */
export async function readTable(file: string, options: ReadTableOptions = {}): Promise<Table> {
  requirePath("readTable", file);
  const extension = extname(file).toLowerCase();
  const isKnown = TABLE_EXTENSIONS.includes(extension);
  const mayBeConll = !isKnown || extension === ".tsv" || extension === ".txt";
  const conll = CONLL_EXTENSIONS.includes(extension) || (mayBeConll && (await hasConll(file)));
  if (!isKnown && !conll) {
    const got = extension === "" ? "none" : `"${extension}"`;
    throw new LowrankError(
      "data",
      `${file}: a data file's extension tells its format, expected ${TABLE_EXTENSIONS.join(", ")}, got ${got}. ` +
        "Rename or convert the file.",
    );
  }
  let bytes = await readBytes(file);
  if (bytes.length === 0) {
    throw new LowrankError("data", `${file}: the file is empty. Expected column names and rows.`);
  }
  let table: Table;
  if (extension === ".parquet") {
    table = await readParquet(file, bytes);
  } else {
    bytes = utf8Bytes(file, bytes);
    if (conll) table = readConll(file, bytes);
    else if (extension === ".json") table = readJson(file, bytes);
    else if (extension === ".jsonl" || extension === ".ndjson") table = readJsonLines(file, bytes);
    else if (extension === ".txt") table = readPlainText(file, bytes);
    else table = readDelimited(file, bytes, extension === ".csv", options.header ?? "auto");
  }
  checkTable(table);
  return table;
}

/** Files of other extensions may be large or no text at all: their beginning tells. */
async function hasConll(file: string): Promise<boolean> {
  let handle: FileHandle;
  try {
    handle = await open(file);
  } catch {
    return false; // the extension is what is wrong, or reading it will say why
  }
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(JUDGED_BYTES), 0, JUDGED_BYTES);
    const start = buffer.subarray(0, bytesRead);
    // The last line may be cut.
    return looksLikeConll(
      bytesRead < JUDGED_BYTES ? start : start.subarray(0, start.lastIndexOf(0x0a)),
    );
  } catch {
    return false; // a directory
  } finally {
    await handle.close();
  }
}

async function readBytes(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const why =
      code === "ENOENT"
        ? "there is no such file. Check the path"
        : code === "EISDIR"
          ? "this is a directory. Name a file in it"
          : code === "ERR_FS_FILE_TOO_LARGE"
            ? "the file is larger than 2 GiB. Split it"
            : `the file cannot be read (${code ?? String(error)}). Check its permissions`;
    throw new LowrankError("data", `${file}: ${why}.`, { cause: error });
  }
}

function checkTable(table: Table): void {
  const twice = table.columns.find((name, index) => table.columns.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new LowrankError(
      "data",
      `${table.file}: column names must differ, got "${twice}" twice. Rename one of them.`,
    );
  }
  if (table.rows.length === 0 || table.columns.length === 0) {
    const only =
      table.columns.length > 0 ? `, got only the columns ${table.columns.join(", ")}` : "";
    throw new LowrankError(
      "data",
      `${table.file}: expected at least one row${only}. Add examples.`,
    );
  }
}

/**
 * @file Parquet, by hyparquet: uncompressed and Snappy pages by itself, gzip, Brotli and (from Node 22.15) Zstandard
 * pages with Node's zlib. Whole numbers become numbers where a double holds them, else strings of digits.
 */

import * as zlib from "node:zlib";
import { setImmediate } from "node:timers/promises";
import { parquetReadObjects, type AsyncBuffer, type Compressors } from "hyparquet";
import { LowrankError } from "../errors.ts";
import type { Row, Table } from "./table.ts";

function compressors(): Compressors {
  const known: Compressors = {
    GZIP: (input) => zlib.gunzipSync(input),
    BROTLI: (input) => zlib.brotliDecompressSync(input),
  };
  const zstd = (zlib as { zstdDecompressSync?: (input: Uint8Array) => Buffer }).zstdDecompressSync;
  if (zstd !== undefined) known.ZSTD = (input) => zstd(input);
  return known;
}

/** Replaces bigints, also inside lists and structs. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : String(value);
  }
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null && value.constructor === Object) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value;
}

/** Bytes as hyparquet reads them. Where it fails it leaves reads behind whose errors nobody catches, which would end the process;
 * once closed, a source answers no more. */
function sourceOf(bytes: Buffer): AsyncBuffer & { close(): void } {
  const { buffer, byteOffset, byteLength } = bytes;
  let isClosed = false;
  return {
    byteLength,
    async slice(start, end = byteLength) {
      await setImmediate(); // until then a failure to begin all reads has closed it
      if (isClosed) return new Promise(() => {});
      return (buffer as ArrayBuffer).slice(byteOffset + start, byteOffset + end);
    },
    close() {
      isClosed = true;
    },
  };
}

/**
 * Reads all rows; Row.line counts rows.
 *
 * @throws LowrankError "data" when the file is not Parquet or uses an unsupported compression
 */
export async function readParquet(file: string, bytes: Buffer): Promise<Table> {
  const source = sourceOf(bytes);
  let objects: Record<string, unknown>[];
  try {
    objects = await parquetReadObjects({ file: source, compressors: compressors() });
  } catch (error) {
    source.close();
    throw new LowrankError(
      "data",
      `${file}: not a readable Parquet file: ${(error as Error).message}. ` +
        "Write it with Snappy compression, or convert it to JSON lines.",
      { cause: error },
    );
  }
  const rows = objects.map((values, index): Row => {
    for (const name in values) values[name] = plain(values[name]);
    return { line: index + 1, values };
  });
  return { file, columns: Object.keys(objects[0] ?? {}), rows, unit: "row" };
}

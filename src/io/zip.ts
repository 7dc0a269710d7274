/** @file The directory of a zip archive whose entries are stored without compression, as torch writes them: where the bytes of each
 * entry are. Nothing is unpacked. Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT */
import type { FileHandle } from "node:fs/promises";
import { checkpointError, DAMAGED } from "./safetensors-header.ts";

/** The bytes of an entry. */
export interface ZipEntry {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Most that may stand behind the directory: its end record and a comment of 65,535 bytes. */
const MAX_TAIL_BYTES = 66_000;
/** Longest directory, a million entries of torch's kind. */
const MAX_DIRECTORY_BYTES = 128 * 2 ** 20;

const END_RECORD = 0x0605_4b50;
const END_LOCATOR_64 = 0x0706_4b50;
const END_RECORD_64 = 0x0606_4b50;
const DIRECTORY_ENTRY = 0x0201_4b50;
const LOCAL_HEADER = 0x0403_4b50;

/** The entries of an archive by name, those that `wanted` accepts. `size`: of the file.
 * Errors: LowrankError "checkpoint" for anything that is no such archive. */
export async function readZipDirectory(
  file: string,
  handle: FileHandle,
  size: number,
  wanted: (name: string) => boolean,
): Promise<Map<string, ZipEntry>> {
  const damaged = (what: string): Error => checkpointError(file, `${what} ${DAMAGED}`);
  const read = async (offset: number, length: number): Promise<DataView> => {
    if (offset < 0 || length < 0 || offset + length > size || !Number.isSafeInteger(offset)) {
      throw damaged(`the zip directory points outside of the file (${size} bytes).`);
    }
    const bytes = new Uint8Array(length);
    const { bytesRead } = await handle.read(bytes, 0, length, offset);
    if (bytesRead < length) throw damaged("the file was cut while it was read.");
    return new DataView(bytes.buffer);
  };

  const { offset, length } = await findDirectory(size, read, damaged);
  if (length > MAX_DIRECTORY_BYTES) throw damaged(`a zip directory of ${length} bytes.`);
  const directory = await read(offset, length);
  const entries = new Map<string, ZipEntry>();
  for (const entry of directoryEntries(directory, damaged)) {
    if (!wanted(entry.name)) continue;
    if (entries.has(entry.name)) throw damaged(`the zip entry ${entry.name} occurs twice.`);
    if (entry.method !== 0 || entry.stored !== entry.sizeBytes) {
      throw checkpointError(
        file,
        `the zip entry ${entry.name} is compressed, expected it stored as torch.save does. Save the file again.`,
      );
    }
    const header = await read(entry.header, 30);
    if (header.getUint32(0, true) !== LOCAL_HEADER) {
      throw damaged(`the zip entry ${entry.name} has no header.`);
    }
    const start = entry.header + 30 + header.getUint16(26, true) + header.getUint16(28, true);
    if (start + entry.sizeBytes > size) {
      throw damaged(`the zip entry ${entry.name} ends behind the file (${size} bytes).`);
    }
    entries.set(entry.name, { offset: start, sizeBytes: entry.sizeBytes });
  }
  return entries;
}

type Read = (offset: number, length: number) => Promise<DataView>;
type Damaged = (what: string) => Error;

async function findDirectory(
  size: number,
  read: Read,
  damaged: Damaged,
): Promise<{ offset: number; length: number }> {
  const tailStart = Math.max(0, size - MAX_TAIL_BYTES);
  const tail = await read(tailStart, size - tailStart);
  let end = tail.byteLength - 22;
  while (end >= 0 && tail.getUint32(end, true) !== END_RECORD) end--;
  if (end < 0) throw damaged("the zip archive has no end.");
  const [length, offset] = [tail.getUint32(end + 12, true), tail.getUint32(end + 16, true)];
  if (end < 20 || tail.getUint32(end - 20, true) !== END_LOCATOR_64) return { offset, length };
  const record = await read(safe(tail, end - 12, damaged), 56);
  if (record.getUint32(0, true) !== END_RECORD_64) throw damaged("the zip archive has no end.");
  return { length: safe(record, 40, damaged), offset: safe(record, 48, damaged) };
}

/** A 64-bit number that JavaScript can count with. */
function safe(view: DataView, offset: number, damaged: Damaged): number {
  const value = view.getBigUint64(offset, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged("a size in the zip directory.");
  return Number(value);
}

interface DirectoryEntry extends Pick<ZipEntry, "sizeBytes"> {
  readonly name: string;
  /** 0: stored. */
  readonly method: number;
  readonly stored: number;
  /** Offset of the local header. */
  readonly header: number;
}

function* directoryEntries(view: DataView, damaged: Damaged): Generator<DirectoryEntry> {
  const bytes = new Uint8Array(view.buffer);
  for (let at = 0; at + 46 <= bytes.length && view.getUint32(at, true) === DIRECTORY_ENTRY;) {
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((field) =>
      view.getUint16(at + field, true),
    ) as [number, number, number];
    const extra = at + 46 + nameLength;
    const next = extra + extraLength + commentLength;
    if (next > bytes.length) throw damaged("an entry of the zip directory is cut off.");
    const sizes = {
      sizeBytes: view.getUint32(at + 24, true),
      stored: view.getUint32(at + 20, true),
      header: view.getUint32(at + 42, true),
    };
    widen(sizes, new DataView(view.buffer, extra, extraLength), damaged);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, extra));
    yield { name, method: view.getUint16(at + 10, true), ...sizes };
    at = next;
  }
}

/** Numbers of 32 bits that are all ones stand for those in the extra field of kind 1, in this order. */
function widen(
  sizes: { sizeBytes: number; stored: number; header: number },
  extra: DataView,
  damaged: Damaged,
): void {
  for (let at = 0; at + 4 <= extra.byteLength;) {
    const [kind, length] = [extra.getUint16(at, true), extra.getUint16(at + 2, true)];
    let field = at + 4;
    at = field + length;
    if (kind !== 1) continue;
    for (const key of ["sizeBytes", "stored", "header"] as const) {
      if (sizes[key] !== 0xffff_ffff) continue;
      if (field + 8 > Math.min(at, extra.byteLength)) throw damaged("a size in the zip directory.");
      sizes[key] = safe(extra, field, damaged);
      field += 8;
    }
  }
}

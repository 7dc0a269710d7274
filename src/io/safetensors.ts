/**
 * @file Safetensors files: the header, raw tensors, tensors widened to float32, and (from safetensors-write.ts) writing. The 16-bit
 * formats are in float16.ts, data types in safetensors-format.ts, several files as one model in checkpoint.ts.
 *
 * A file is 8 bytes of header length (little-endian), a JSON header, and the tensors' bytes without gaps, little-endian like
 * every machine that this runs on. What is refused here is what the reference implementation refuses, and duplicate names.
 * Source: https://github.com/huggingface/safetensors#format
 */
import { open, type FileHandle } from "node:fs/promises";
import { LowrankError } from "../errors.ts";
import { ioError, isLfsPointer, lfsPointerProblem, statFile } from "./files.ts";
import { widenBF16, widenF16 } from "./float16.ts";
import { findDuplicateKey, parseJson } from "./json.ts";
import {
  elementCount,
  MAX_HEADER_BYTES,
  STORED_DTYPES,
  type StoredArray,
  type StoredDtype,
  type TensorInfo,
} from "./safetensors-format.ts";

export { findNonFinite, float32ToBF16, float32ToF16 } from "./float16.ts";
export {
  elementCount,
  STORED_DTYPES,
  type StoredArray,
  type StoredDtype,
  type TensorInfo,
} from "./safetensors-format.ts";
export { writeSafetensors, type TensorToWrite } from "./safetensors-write.ts";

/** Bytes read at once while widening: large enough for the disk's full speed, small enough to stay in the cache. */
const CHUNK_BYTES = 2 ** 18;
/** Bytes read at once without widening; one read call cannot take 2 GiB. */
const DIRECT_READ_BYTES = 64 * 2 ** 20;

/** What the header of one file says; tensors in the order of their bytes. */
export interface SafetensorsHeader {
  readonly file: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: Map<string, TensorInfo>;
}

/** Reads and checks the header of a safetensors file, never the tensors.
 * Errors: LowrankError "checkpoint" for a missing or malformed file, "io" when the system refuses to read it. */
export async function readHeader(file: string): Promise<SafetensorsHeader> {
  let handle: FileHandle | undefined;
  try {
    const { size } = await statFile(file);
    handle = await open(file, "r");
    const { text, dataStart } = await readHeaderText(file, handle, size);
    return interpretHeader(file, text, dataStart, size);
  } catch (error) {
    throw readError(file, error);
  } finally {
    await handle?.close();
  }
}

function readError(file: string, error: unknown): Error {
  const failure = ioError(file, "read the weights", error);
  if (!(failure instanceof LowrankError) || !(error instanceof Error)) return failure;
  if ((error as NodeJS.ErrnoException).code !== "ENOENT") return failure;
  return problem(file, "expected a safetensors file, got nothing at this path. Check the path.");
}

function problem(where: string, message: string): LowrankError {
  return new LowrankError("checkpoint", `${where}: ${message}`);
}

const DAMAGED = "The file is damaged or incomplete: download or save it again.";

async function readHeaderText(file: string, handle: FileHandle, size: number) {
  const start = new Uint8Array(Math.min(size, 64));
  await readFully(file, handle, start, 0);
  if (isLfsPointer(start)) throw new LowrankError("checkpoint", lfsPointerProblem(file));
  if (size < 8) {
    throw problem(file, `expected at least 8 bytes of safetensors, got ${size}. ${DAMAGED}`);
  }
  const length = new DataView(start.buffer).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw problem(
      file,
      `a safetensors header has at most ${MAX_HEADER_BYTES} bytes, got ${length}. ` +
        "Check that this is a safetensors file.",
    );
  }
  const dataStart = 8 + Number(length);
  if (dataStart > size) {
    throw problem(
      file,
      `the header needs ${dataStart} bytes, got a file of ${size} bytes. ${DAMAGED}`,
    );
  }
  const bytes = new Uint8Array(Number(length));
  await readFully(file, handle, bytes, 8);
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return { text, dataStart };
  } catch {
    throw problem(file, `expected a header in UTF-8, got other bytes. ${DAMAGED}`);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && !Object.is(value, -0);
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function interpretHeader(
  file: string,
  text: string,
  dataStart: number,
  size: number,
): SafetensorsHeader {
  const parsed = parseJson(text);
  if ("problem" in parsed) {
    const { line, column, found } = parsed.problem;
    throw problem(
      file,
      `expected a JSON header, got ${found} at line ${line}, column ${column}. ${DAMAGED}`,
    );
  }
  if (!isObject(parsed.value)) {
    throw problem(
      file,
      `expected a JSON object as header, got ${show(parsed.value)}. Check that this is a safetensors file.`,
    );
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) {
    throw problem(
      file,
      `expected each name once in the header, got ${show(duplicate)} twice. ${DAMAGED}`,
    );
  }
  const infos: TensorInfo[] = [];
  for (const [name, entry] of Object.entries(parsed.value)) {
    if (name !== "__metadata__") infos.push(interpretEntry(file, name, entry, dataStart));
  }
  infos.sort((a, b) => a.offset - b.offset || a.sizeBytes - b.sizeBytes);
  checkLayout(file, infos, dataStart, size);
  const metadata = interpretMetadata(file, parsed.value["__metadata__"]);
  return { file, metadata, tensors: new Map(infos.map((info) => [info.name, info])) };
}

function interpretMetadata(file: string, value: unknown): Record<string, string> {
  if (value === undefined || value === null) return {};
  const entries = isObject(value) ? Object.entries(value) : [];
  if (!isObject(value) || entries.some(([, text]) => typeof text !== "string")) {
    throw problem(file, `__metadata__ maps names to strings, got ${show(value)}. ${DAMAGED}`);
  }
  return Object.fromEntries(entries) as Record<string, string>;
}

function interpretEntry(file: string, name: string, entry: unknown, dataStart: number): TensorInfo {
  const where = `${file}: tensor ${show(name)}`;
  if (!isObject(entry)) {
    throw problem(
      where,
      `expected an object with dtype, shape, data_offsets, got ${show(entry)}. ${DAMAGED}`,
    );
  }
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(STORED_DTYPES, dtype)) {
    const known = Object.keys(STORED_DTYPES).join(", ");
    throw problem(
      where,
      `dtype is one of ${known}, got ${show(dtype)}. Save the tensor in one of them.`,
    );
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw problem(where, `shape is a list of integers ≥ 0, got ${show(shape)}. ${DAMAGED}`);
  }
  const bits = sizeInBits(shape, STORED_DTYPES[dtype as StoredDtype].bits);
  if (bits === undefined) {
    throw problem(
      where,
      `expected at most 2^53 - 1 elements and bits, got shape ${show(shape)}. ${DAMAGED}`,
    );
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw problem(where, `data_offsets is [begin, end] in bytes, got ${show(offsets)}. ${DAMAGED}`);
  }
  const [begin, end] = offsets as [number, number];
  if ((end - begin) * 8 !== bits) {
    const expected = `${bits / 8} bytes for ${dtype} ${show(shape)}`;
    throw problem(where, `data_offsets span ${expected}, got ${show(offsets)}. ${DAMAGED}`);
  }
  return {
    name,
    dtype: dtype as StoredDtype,
    shape,
    file,
    offset: dataStart + begin,
    sizeBytes: end - begin,
  };
}

/** Bits of a tensor, or undefined where a partial product leaves the exact integers (as the reference: even before a 0). */
function sizeInBits(shape: readonly number[], bitsPerElement: number): number | undefined {
  let product = 1;
  for (const factor of [...shape, bitsPerElement]) {
    product *= factor;
    if (product > Number.MAX_SAFE_INTEGER) return undefined;
  }
  return product;
}

/** Tensors, sorted by offset, must fill the data part without overlap or hole, to the last byte of the file. */
function checkLayout(
  file: string,
  infos: readonly TensorInfo[],
  dataStart: number,
  size: number,
): void {
  let end = dataStart;
  for (const { name, offset, sizeBytes } of infos) {
    if (offset !== end) {
      const flaw = offset < end ? "overlaps the tensor before it" : "leaves a hole before it";
      throw problem(
        `${file}: tensor ${show(name)}`,
        `expected its data to begin at byte ${end - dataStart}, got ${offset - dataStart}: it ${flaw}. ${DAMAGED}`,
      );
    }
    end += sizeBytes;
    if (end > size) {
      throw problem(
        `${file}: tensor ${show(name)}`,
        `needs the file's bytes up to ${end}, got a file of ${size} bytes: it is truncated. ${DAMAGED}`,
      );
    }
  }
  if (end !== size) {
    throw problem(
      file,
      `expected the file to end with its last tensor at byte ${end}, got ${size} bytes. ${DAMAGED}`,
    );
  }
}

/** Fills `target` from `position` on. Errors: LowrankError "checkpoint" when the file ends first. */
async function readFully(
  file: string,
  handle: FileHandle,
  target: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < target.length;) {
    const length = Math.min(DIRECT_READ_BYTES, target.length - done);
    const { bytesRead } = await handle.read(target, done, length, position + done);
    if (bytesRead === 0) {
      throw problem(
        file,
        `expected ${target.length} bytes at offset ${position}, got ${done}: the file was cut while it was read. ${DAMAGED}`,
      );
    }
    done += bytesRead;
  }
}

async function withFile<T>(info: TensorInfo, use: (handle: FileHandle) => Promise<T>): Promise<T> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(info.file, "r");
    return await use(handle);
  } catch (error) {
    throw readError(info.file, error);
  } finally {
    await handle?.close();
  }
}

/** Reads a tensor as stored: elements in row-major order, in the array type that `STORED_DTYPES` names.
 * Errors: LowrankError "checkpoint" when the file is gone or shorter than its header said. */
export async function readTensor(info: TensorInfo): Promise<StoredArray> {
  const { array } = STORED_DTYPES[info.dtype];
  const buffer = new ArrayBuffer(info.sizeBytes);
  await withFile(info, (handle) =>
    readFully(info.file, handle, new Uint8Array(buffer), info.offset),
  );
  return new array(buffer);
}

/** Reads a floating-point tensor as float32, into `into` (of exactly the tensor's element count) when given.
 * F16 and BF16 widen exactly, NaN payloads included; F64 rounds to nearest. Besides the result only 256 KiB are held.
 * Errors: LowrankError "checkpoint" for other dtypes, a wrong length of `into`, or a file shorter than its header said. */
export async function readFloat32(info: TensorInfo, into?: Float32Array): Promise<Float32Array> {
  const where = `${info.file}: tensor ${show(info.name)}`;
  const count = elementCount(info.shape);
  if (into !== undefined && into.length !== count) {
    throw problem(
      where,
      `has ${count} elements, got a target of ${into.length}. Pass one of that length.`,
    );
  }
  if (!["F32", "F16", "BF16", "F64"].includes(info.dtype)) {
    throw problem(
      where,
      `expected F32, F16, BF16 or F64, got ${info.dtype}. Convert it to one of them.`,
    );
  }
  const target = into ?? new Float32Array(count);
  const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
  const bits = new Uint32Array(target.buffer, target.byteOffset, count);
  const elementBytes = STORED_DTYPES[info.dtype].bits / 8;
  await withFile(info, async (handle) => {
    if (info.dtype === "F32") return readFully(info.file, handle, bytes, info.offset);
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, info.sizeBytes));
    for (let done = 0; done < count;) {
      const part = Math.min(chunk.length / elementBytes, count - done);
      const view = chunk.subarray(0, part * elementBytes);
      await readFully(info.file, handle, view, info.offset + done * elementBytes);
      const stored = new Uint16Array(chunk.buffer, 0, view.byteLength / 2);
      const widened = bits.subarray(done, done + part);
      if (info.dtype === "F16") widenF16(stored, widened);
      else if (info.dtype === "BF16") widenBF16(stored, widened);
      else target.set(new Float64Array(chunk.buffer, 0, part), done);
      done += part;
    }
  });
  return target;
}

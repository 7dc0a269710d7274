/**
 * @file Safetensors files: the header, raw tensors, tensors widened to float32, and (from safetensors-write.ts) writing. The 16-bit
 * formats are in float16.ts, the rules of the header in safetensors-header.ts, several files as one model in checkpoint.ts.
 *
 * A file is 8 bytes of header length (little-endian), a JSON header, and the tensors' bytes without gaps, little-endian like
 * every machine that this runs on.
 * Source: https://github.com/huggingface/safetensors#format
 */
import { open, type FileHandle } from "node:fs/promises";
import { LowrankError } from "../errors.ts";
import { statFile } from "./files.ts";
import { ioError, isLfsPointer, lfsPointerProblem } from "./io-errors.ts";
import { widenBF16, widenF16 } from "./float16.ts";
import {
  elementCount,
  MAX_HEADER_BYTES,
  STORED_DTYPES,
  type StoredArray,
  type TensorInfo,
} from "./safetensors-format.ts";
import {
  checkpointError,
  DAMAGED,
  interpretHeader,
  show,
  type SafetensorsHeader,
} from "./safetensors-header.ts";

export { findNonFinite, float32ToBF16, float32ToF16 } from "./float16.ts";
export {
  elementCount,
  STORED_DTYPES,
  type StoredArray,
  type StoredDtype,
  type TensorInfo,
} from "./safetensors-format.ts";
export type { SafetensorsHeader } from "./safetensors-header.ts";
export {
  storedBytes,
  writeLazySafetensors,
  writeSafetensors,
  type LazyTensor,
  type TensorToWrite,
} from "./safetensors-write.ts";

/** Bytes read at once while widening: large enough for the disk's full speed, small enough to stay in the cache. */
const CHUNK_BYTES = 2 ** 18;
/** Bytes read at once without widening; one read call cannot take 2 GiB. */
const DIRECT_READ_BYTES = 64 * 2 ** 20;

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
  return checkpointError(
    file,
    "expected a safetensors file, got nothing at this path. Check the path.",
  );
}

async function readHeaderText(file: string, handle: FileHandle, size: number) {
  const start = new Uint8Array(Math.min(size, 64));
  await readFully(file, handle, start, 0);
  if (isLfsPointer(start)) throw new LowrankError("checkpoint", lfsPointerProblem(file));
  if (size < 8) {
    throw checkpointError(
      file,
      `expected at least 8 bytes of safetensors, got ${size}. ${DAMAGED}`,
    );
  }
  const length = new DataView(start.buffer).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw checkpointError(
      file,
      `a safetensors header has at most ${MAX_HEADER_BYTES} bytes, got ${length}. ` +
        "Check that this is a safetensors file.",
    );
  }
  const dataStart = 8 + Number(length);
  if (dataStart > size) {
    throw checkpointError(
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
    throw checkpointError(file, `expected a header in UTF-8, got other bytes. ${DAMAGED}`);
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
      throw checkpointError(
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

/** Memory for a tensor. Errors: LowrankError "runtime" when there is not enough. */
function allocate(info: TensorInfo, sizeBytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(sizeBytes);
  } catch (cause) {
    throw new LowrankError(
      "runtime",
      `${info.file}: tensor ${show(info.name)}: needs ${sizeBytes} bytes of memory, got less. Close other programs.`,
      { cause },
    );
  }
}

/** Reads a tensor as stored: elements in row-major order, in the array type that `STORED_DTYPES` names.
 * Errors: LowrankError "checkpoint" when the file is gone or shorter than its header said. */
export async function readTensor(info: TensorInfo): Promise<StoredArray> {
  const { array } = STORED_DTYPES[info.dtype];
  const buffer = allocate(info, info.sizeBytes);
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
    throw checkpointError(
      where,
      `has ${count} elements, got a target of ${into.length}. Pass one of that length.`,
    );
  }
  if (!["F32", "F16", "BF16", "F64"].includes(info.dtype)) {
    throw checkpointError(
      where,
      `expected F32, F16, BF16 or F64, got ${info.dtype}. Convert it to one of them.`,
    );
  }
  const target = into ?? new Float32Array(allocate(info, count * 4));
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

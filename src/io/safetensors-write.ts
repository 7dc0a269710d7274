/**
 * @file Writing safetensors files, byte for byte as the reference implementation writes the same tensors and metadata.
 * Reading is in safetensors.ts, narrowing to 16 bits in float16.ts, the atomic write in files.ts.
 * Source: https://github.com/huggingface/safetensors#format
 */
import { LowrankError } from "../errors.ts";
import { writeFileAtomic } from "./files.ts";
import {
  elementCount,
  MAX_HEADER_BYTES,
  STORED_DTYPES,
  type StoredArray,
  type StoredDtype,
} from "./safetensors-format.ts";

/** A tensor to write. `data`: the array that `STORED_DTYPES` names for the dtype, or its raw little-endian bytes. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  readonly data: StoredArray;
}

const DTYPE_ORDER = Object.keys(STORED_DTYPES);

/** Writes tensors to a safetensors file, atomically. As in the reference implementation the bytes are ordered by dtype, widest
 * first, then by name, so that the result does not depend on the order given; the header is padded to 8 bytes. Metadata keys
 * are sorted, where the reference leaves their order to chance.
 * Errors: LowrankError "checkpoint" for tensors that do not fit their description (all together), "io" for a failed write. */
export async function writeSafetensors(
  file: string,
  tensors: readonly TensorToWrite[],
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  const problems = findProblems(tensors, metadata);
  if (problems.length > 0) {
    throw new LowrankError(
      "checkpoint",
      `${file}: cannot write these tensors:\n${problems.map((text) => `  ${text}`).join("\n")}`,
    );
  }
  const sorted = tensors.toSorted(
    (a, b) =>
      DTYPE_ORDER.indexOf(b.dtype) - DTYPE_ORDER.indexOf(a.dtype) || compareUtf8(a.name, b.name),
  );
  const header = encodeHeader(sorted, metadata);
  if (header.length - 8 > MAX_HEADER_BYTES) {
    throw new LowrankError(
      "checkpoint",
      `${file}: a safetensors header has at most ${MAX_HEADER_BYTES} bytes, got ${header.length - 8}. ` +
        "Write fewer tensors to a file.",
    );
  }
  const parts = sorted.map(({ data }) => bytesOf(data));
  await writeFileAtomic(file, [header, ...parts]);
}

function bytesOf(data: StoredArray): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Order of the names' UTF-8 bytes, which differs from JavaScript's order beyond U+FFFF. */
function compareUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** Length prefix and JSON header, padded with spaces. Written key by key: an object would reorder names like "0". */
function encodeHeader(
  sorted: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> | undefined,
): Uint8Array {
  const entries: string[] = [];
  if (metadata !== undefined) {
    const pairs = Object.entries(metadata)
      .sort(([a], [b]) => compareUtf8(a, b))
      .map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    entries.push(`"__metadata__":{${pairs.join(",")}}`);
  }
  let offset = 0;
  for (const { name, dtype, shape, data } of sorted) {
    const end = offset + data.byteLength;
    entries.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],"data_offsets":[${offset},${end}]}`,
    );
    offset = end;
  }
  const json = Buffer.from(`{${entries.join(",")}}`);
  const header = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(json, 8);
  return header;
}

function findProblems(
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> | undefined,
): string[] {
  const problems: string[] = [];
  const names = new Set<string>();
  for (const { name, dtype, shape, data } of tensors) {
    const where = `tensor ${JSON.stringify(name)}`;
    if (name === "__metadata__")
      problems.push(`${where}: the name is reserved. Choose another one.`);
    if (!isWellFormed(name))
      problems.push(`${where}: expected valid Unicode. Choose another name.`);
    if (names.has(name)) problems.push(`${where}: expected each name once, got it twice.`);
    names.add(name);
    const { bits, array } = STORED_DTYPES[dtype];
    const kind = data[Symbol.toStringTag];
    if (kind !== "Uint8Array" && kind !== array.name) {
      problems.push(`${where}: expected ${array.name} or raw bytes for ${dtype}, got ${kind}.`);
    }
    if (!shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0)) {
      problems.push(`${where}: expected integers ≥ 0 as shape, got [${shape.join(", ")}].`);
    } else if (elementCount(shape) * bits !== data.byteLength * 8) {
      const expected = (elementCount(shape) * bits) / 8;
      problems.push(
        `${where}: expected ${expected} bytes for ${dtype} [${shape.join(", ")}], got ${data.byteLength}.`,
      );
    }
  }
  for (const [key, value] of Object.entries(metadata ?? {})) {
    if (typeof value !== "string" || !isWellFormed(key) || !isWellFormed(value)) {
      problems.push(`metadata ${JSON.stringify(key)}: expected a string of valid Unicode.`);
    }
  }
  return problems;
}

/** Whether no surrogate stands alone: those have no UTF-8 form. */
function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

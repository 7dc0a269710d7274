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

/** A tensor whose elements are made when it is their turn to be written. */
export interface LazyTensor extends Omit<TensorToWrite, "data"> {
  readonly data: () => Promise<StoredArray>;
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
  check(file, findProblems(tensors, metadata, findDataProblems));
  await writeParts(file, tensors, metadata, ({ data }) => Promise.resolve(data));
}

/** The same for tensors that are not all in memory: one is, at any time.
 * Errors: as above; a tensor that turns out not to fit its description is found when it is written. */
export async function writeLazySafetensors(
  file: string,
  tensors: readonly LazyTensor[],
  metadata?: Readonly<Record<string, string>>,
): Promise<void> {
  check(
    file,
    findProblems(tensors, metadata, () => []),
  );
  await writeParts(file, tensors, metadata, async (tensor) => {
    const data = await tensor.data();
    check(file, findDataProblems({ ...tensor, data }));
    return data;
  });
}

function check(file: string, problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new LowrankError(
    "checkpoint",
    `${file}: cannot write these tensors:\n${problems.map((text) => `  ${text}`).join("\n")}`,
  );
}

type Description = Omit<TensorToWrite, "data">;

async function writeParts<T extends Description>(
  file: string,
  tensors: readonly T[],
  metadata: Readonly<Record<string, string>> | undefined,
  read: (tensor: T) => Promise<StoredArray>,
): Promise<void> {
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
  await writeFileAtomic(
    file,
    (async function* () {
      yield header;
      for (const tensor of sorted) yield bytesOf(await read(tensor));
    })(),
  );
}

/** Size of a tensor's elements. */
export function storedBytes({ dtype, shape }: Pick<Description, "dtype" | "shape">): number {
  return (elementCount(shape) * STORED_DTYPES[dtype].bits) / 8;
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
  sorted: readonly Description[],
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
  for (const { name, dtype, shape } of sorted) {
    const end = offset + storedBytes({ dtype, shape });
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

function findProblems<T extends Description>(
  tensors: readonly T[],
  metadata: Readonly<Record<string, string>> | undefined,
  ofData: (tensor: T) => string[],
): string[] {
  const problems: string[] = [];
  const names = new Set<string>();
  for (const tensor of tensors) {
    const { name } = tensor;
    const where = `tensor ${JSON.stringify(name)}`;
    if (name === "__metadata__")
      problems.push(`${where}: the name is reserved. Choose another one.`);
    if (!isWellFormed(name))
      problems.push(`${where}: expected valid Unicode. Choose another name.`);
    if (names.has(name)) problems.push(`${where}: expected each name once, got it twice.`);
    names.add(name);
    problems.push(...ofData(tensor));
  }
  return [...problems, ...findMetadataProblems(metadata)];
}

function findDataProblems({ name, dtype, shape, data }: TensorToWrite): string[] {
  const problems: string[] = [];
  const where = `tensor ${JSON.stringify(name)}`;
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
  return problems;
}

function findMetadataProblems(metadata: Readonly<Record<string, string>> | undefined): string[] {
  return Object.entries(metadata ?? {})
    .filter(
      ([key, value]) => typeof value !== "string" || !isWellFormed(key) || !isWellFormed(value),
    )
    .map(([key]) => `metadata ${JSON.stringify(key)}: expected a string of valid Unicode.`);
}

/** Whether no surrogate stands alone: those have no UTF-8 form. */
function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

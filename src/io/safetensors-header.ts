/**
 * @file The meaning of a safetensors header: its JSON checked against the rules of the format. No input or output here; the
 * bytes come from safetensors.ts. What is refused is what the reference implementation refuses, and repeated names.
 * Source: https://github.com/huggingface/safetensors#format
 */
import { LowrankError } from "../errors.ts";
import { findDuplicateKey, parseJson } from "./json.ts";
import { STORED_DTYPES, type StoredDtype, type TensorInfo } from "./safetensors-format.ts";

/** What the header of one file says; tensors in the order of their bytes. */
export interface SafetensorsHeader {
  readonly file: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: Map<string, TensorInfo>;
}

/** Ending of a message about bytes that no program wrote like this. */
export const DAMAGED = "The file is damaged or incomplete: download or save it again.";

/** `<where>: <message>` with code "checkpoint". */
export function checkpointError(where: string, message: string): LowrankError {
  return new LowrankError("checkpoint", `${where}: ${message}`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && !Object.is(value, -0);
}

/** A value from a file as it appears in a message: JSON, shortened. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** Checks a header's text. `dataStart`: offset of the first tensor byte; `size`: of the whole file.
 * Errors: LowrankError "checkpoint", for the first rule that is broken. */
export function interpretHeader(
  file: string,
  text: string,
  dataStart: number,
  size: number,
): SafetensorsHeader {
  const parsed = parseJson(text);
  if ("problem" in parsed) {
    const { line, column, found } = parsed.problem;
    throw checkpointError(
      file,
      `expected a JSON header, got ${found} at line ${line}, column ${column}. ${DAMAGED}`,
    );
  }
  if (!isObject(parsed.value)) {
    throw checkpointError(
      file,
      `expected a JSON object as header, got ${show(parsed.value)}. Check that this is a safetensors file.`,
    );
  }
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) {
    throw checkpointError(
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
    throw checkpointError(
      file,
      `__metadata__ maps names to strings, got ${show(value)}. ${DAMAGED}`,
    );
  }
  return Object.fromEntries(entries) as Record<string, string>;
}

function interpretEntry(file: string, name: string, entry: unknown, dataStart: number): TensorInfo {
  const where = `${file}: tensor ${show(name)}`;
  if (!isObject(entry)) {
    throw checkpointError(
      where,
      `expected an object with dtype, shape, data_offsets, got ${show(entry)}. ${DAMAGED}`,
    );
  }
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(STORED_DTYPES, dtype)) {
    const known = Object.keys(STORED_DTYPES).join(", ");
    throw checkpointError(
      where,
      `dtype is one of ${known}, got ${show(dtype)}. Save the tensor in one of them.`,
    );
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw checkpointError(where, `shape is a list of integers ≥ 0, got ${show(shape)}. ${DAMAGED}`);
  }
  const bits = sizeInBits(shape, STORED_DTYPES[dtype as StoredDtype].bits);
  if (bits === undefined) {
    throw checkpointError(
      where,
      `expected at most 2^53 - 1 elements and bits, got shape ${show(shape)}. ${DAMAGED}`,
    );
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw checkpointError(
      where,
      `data_offsets is [begin, end] in bytes, got ${show(offsets)}. ${DAMAGED}`,
    );
  }
  const [begin, end] = offsets as [number, number];
  if ((end - begin) * 8 !== bits) {
    const expected = `${bits / 8} bytes for ${dtype} ${show(shape)}`;
    throw checkpointError(where, `data_offsets span ${expected}, got ${show(offsets)}. ${DAMAGED}`);
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
      throw checkpointError(
        `${file}: tensor ${show(name)}`,
        `expected its data to begin at byte ${end - dataStart}, got ${offset - dataStart}: it ${flaw}. ${DAMAGED}`,
      );
    }
    end += sizeBytes;
    if (end > size) {
      throw checkpointError(
        `${file}: tensor ${show(name)}`,
        `needs the file's bytes up to ${end}, got a file of ${size} bytes: it is truncated. ${DAMAGED}`,
      );
    }
  }
  if (end !== size) {
    throw checkpointError(
      file,
      `expected the file to end with its last tensor at byte ${end}, got ${size} bytes. ${DAMAGED}`,
    );
  }
}

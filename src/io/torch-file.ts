/**
 * @file Tensors in files that torch.save wrote: where they are, as safetensors' headers tell it, so that they are read alike. Nothing
 * of the file is executed (pickle.ts). Only whole tensors in row-major order are found; views of other shapes are an error.
 * Source: https://docs.pytorch.org/docs/2.9/notes/serialization.html#torch-save-s-file-format
 */
import { open } from "node:fs/promises";
import { LowrankError } from "../errors.ts";
import { statFile } from "./files.ts";
import { ioError, isLfsPointer, lfsPointerProblem } from "./io-errors.ts";
import { PickleImport, PickleProblem, unpickle } from "./pickle.ts";
import {
  elementCount,
  STORED_DTYPES,
  type StoredDtype,
  type TensorInfo,
} from "./safetensors-format.ts";
import { checkpointError, DAMAGED, show } from "./safetensors-header.ts";
import { readZipDirectory, type ZipEntry } from "./zip.ts";

/** Longest pickle: the names and shapes of a million tensors. */
const MAX_PICKLE_BYTES = 256 * 2 ** 20;
const MAX_DIMENSIONS = 16;

const STORAGES: Readonly<Record<string, StoredDtype>> = {
  "torch.FloatStorage": "F32",
  "torch.HalfStorage": "F16",
  "torch.BFloat16Storage": "BF16",
  "torch.DoubleStorage": "F64",
  "torch.LongStorage": "I64",
  "torch.IntStorage": "I32",
  "torch.ShortStorage": "I16",
  "torch.CharStorage": "I8",
  "torch.ByteStorage": "U8",
  "torch.BoolStorage": "BOOL",
};

/** The first bytes of a file as torch wrote it before 1.6: a pickled magic number, not a zip archive. */
const OLD_MAGIC = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46];

/** The tensors of a state dict by name. Reads no weights.
 * Errors: LowrankError "checkpoint" for a file that is no state dict of tensors; an import that tensors do not need is named. "io"
 * when the system refuses to read. */
export async function readTorchFile(file: string): Promise<Map<string, TensorInfo>> {
  let handle: Awaited<ReturnType<typeof open>> | undefined;
  try {
    const { size } = await statFile(file);
    handle = await open(file, "r");
    const start = new Uint8Array(Math.min(size, 64));
    await handle.read(start, 0, start.length, 0);
    checkStart(file, start);
    const entries = await readZipDirectory(file, handle, size, (name) =>
      /(?:^|\/)(?:data\.pkl|byteorder|data\/[^/]+)$/.test(name),
    );
    const pickle = [...entries].find(([name]) => /(?:^|\/)data\.pkl$/.test(name));
    if (!pickle || pickle[1].sizeBytes > MAX_PICKLE_BYTES) {
      throw checkpointError(file, `expected data.pkl in the archive. ${DAMAGED}`);
    }
    const read = async ({ offset, sizeBytes }: ZipEntry): Promise<Uint8Array> => {
      const bytes = new Uint8Array(sizeBytes);
      await handle!.read(bytes, 0, sizeBytes, offset);
      return bytes;
    };
    const folder = pickle[0].slice(0, -"data.pkl".length);
    const order = entries.get(`${folder}byteorder`);
    if (order && order.sizeBytes < 16 && Buffer.from(await read(order)).toString() === "big") {
      throw checkpointError(
        file,
        "big-endian tensors are not supported. Save them as safetensors.",
      );
    }
    return tensorsOf(file, await read(pickle[1]), (key) => entries.get(`${folder}data/${key}`));
  } catch (error) {
    throw ioError(file, "read the weights", error);
  } finally {
    await handle?.close();
  }
}

function checkStart(file: string, start: Uint8Array): void {
  if (isLfsPointer(start)) throw new LowrankError("checkpoint", lfsPointerProblem(file));
  if (Buffer.from(start.subarray(0, 4)).toString("latin1") === "PK\u0003\u0004") return;
  if (OLD_MAGIC.every((byte, i) => start[i] === byte)) {
    throw checkpointError(
      file,
      "torch's format from before version 1.6 is not supported. Convert it in Python: torch.save(torch.load(file), file).",
    );
  }
  throw checkpointError(
    file,
    "expected a zip archive as torch.save writes it, got something else. Check the path, or download the file again.",
  );
}

interface Storage {
  readonly kind: "storage";
  readonly dtype: StoredDtype;
  readonly entry: ZipEntry;
}

interface StoredTensor {
  readonly kind: "tensor";
  readonly storage: Storage;
  /** In elements. */
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

function isKind<K extends "storage" | "tensor">(
  value: unknown,
  kind: K,
): value is K extends "storage" ? Storage : StoredTensor {
  return typeof value === "object" && value !== null && (value as Storage).kind === kind;
}

function tensorsOf(
  file: string,
  pickle: Uint8Array,
  find: (key: string) => ZipEntry | undefined,
): Map<string, TensorInfo> {
  let state: unknown;
  try {
    state = unpickle(pickle, { knows, call, load: (id) => storageOf(id, find) });
  } catch (error) {
    if (!(error instanceof PickleProblem)) throw error;
    throw checkpointError(
      file,
      `expected a pickle of tensors alone, got another: ${error.message}. Nothing of it was executed. ` +
        "Save the adapter as safetensors where you trust its origin.",
    );
  }
  if (!(state instanceof Map)) {
    throw checkpointError(file, "expected a dictionary of tensors. Save the state dict itself.");
  }
  const tensors = new Map<string, TensorInfo>();
  for (const [name, value] of state) {
    if (typeof name !== "string" || !isKind(value, "tensor")) {
      throw checkpointError(
        file,
        `expected tensors by name, got something else at ${show(String(name))}. Save the state dict itself.`,
      );
    }
    tensors.set(name, locate(file, name, value));
  }
  return tensors;
}

const ORDERED_DICT = "collections.OrderedDict";
const REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2";
const REBUILD_PARAMETER = "torch._utils._rebuild_parameter";

const knows = (name: string): boolean =>
  [ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER].includes(name) || Object.hasOwn(STORAGES, name);

function call(name: string, args: readonly unknown[]): unknown {
  const [storage, offset, shape, strides] = args;
  if (name === ORDERED_DICT) return orderedDict(args);
  if (name === REBUILD_PARAMETER && isKind(args[0], "tensor")) return args[0];
  if (
    name === REBUILD_TENSOR &&
    isKind(storage, "storage") &&
    isCount(offset) &&
    isSizes(shape) &&
    isSizes(strides)
  ) {
    return { kind: "tensor", storage, offset, shape, strides } satisfies StoredTensor;
  }
  throw new PickleProblem(`wrong arguments for ${name}`);
}

function orderedDict([pairs = []]: readonly unknown[]): Map<unknown, unknown> {
  if (!Array.isArray(pairs) || !pairs.every(isPair)) {
    throw new PickleProblem("wrong arguments for collections.OrderedDict");
  }
  return new Map(pairs);
}

const isPair = (value: unknown): value is [unknown, unknown] =>
  Array.isArray(value) && value.length === 2;

function storageOf(id: unknown, find: (key: string) => ZipEntry | undefined): Storage {
  const [tag, type, key] = Array.isArray(id) ? (id as unknown[]) : [];
  if (tag !== "storage" || !(type instanceof PickleImport) || typeof key !== "string") {
    throw new PickleProblem("a reference to something that is no storage");
  }
  const dtype = STORAGES[type.name];
  if (!dtype) throw new PickleProblem(`${type.name} in the place of a storage`);
  const entry = find(key);
  if (!entry) throw new PickleProblem(`the storage ${show(key)} is not in the archive`);
  return { kind: "storage", dtype, entry };
}

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= MAX_DIMENSIONS && value.every(isCount);

function locate(file: string, name: string, tensor: StoredTensor): TensorInfo {
  const { storage, shape, strides } = tensor;
  const where = `${file}: tensor ${show(name)}`;
  const elementBytes = STORED_DTYPES[storage.dtype].bits / 8;
  const sizeBytes = elementCount(shape) * elementBytes;
  const start = tensor.offset * elementBytes;
  if (!Number.isSafeInteger(sizeBytes) || start + sizeBytes > storage.entry.sizeBytes) {
    throw checkpointError(
      where,
      `needs ${start + sizeBytes} bytes, its storage has ${storage.entry.sizeBytes}. ${DAMAGED}`,
    );
  }
  if (!isRowMajor(shape, strides)) {
    throw checkpointError(
      where,
      `expected elements in row-major order, got strides [${strides.join(", ")}]. Call contiguous() on it before saving.`,
    );
  }
  return {
    name,
    dtype: storage.dtype,
    shape,
    file,
    offset: storage.entry.offset + start,
    sizeBytes,
  };
}

function isRowMajor(shape: readonly number[], strides: readonly number[]): boolean {
  if (strides.length !== shape.length) return false;
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return elementCount(shape) === 0;
    expected *= shape[axis]!;
  }
  return true;
}

import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { LowrankError } from "../errors.ts";
import {
  float32ToBF16,
  float32ToF16,
  readFloat32,
  readHeader,
  readTensor,
  STORED_DTYPES,
  writeSafetensors,
  type StoredArray,
  type StoredDtype,
  type TensorInfo,
} from "./safetensors.ts";

const directory = mkdtempSync(join(tmpdir(), "safetensors-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = join(directory, "model.safetensors");

/** A file with the given header (as JSON, or a text) and so many data bytes. */
function craft(header: unknown, dataBytes: number, length?: bigint): Buffer {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(text.length));
  return Buffer.concat([prefix, text, Buffer.alloc(dataBytes)]);
}

async function headerError(bytes: Uint8Array): Promise<string> {
  writeFileSync(file, bytes);
  const error = await readHeader(file).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(LowrankError);
  expect((error as LowrankError).code).toBe("checkpoint");
  const { message } = error as LowrankError;
  expect(message.startsWith(`${file}: `)).toBe(true);
  return message.slice(file.length + 2);
}

const f32 = (shape: unknown, begin: unknown, end: unknown) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});
const DAMAGED = "The file is damaged or incomplete: download or save it again.";

describe("readHeader", () => {
  it("gives dtype, shape, absolute offset and metadata, in the order of the bytes", async () => {
    const header = { 1: f32([2], 4, 12), __metadata__: { format: "pt" }, 0: f32([], 0, 4) };
    const bytes = craft(header, 12);
    writeFileSync(file, bytes);
    const result = await readHeader(file);
    const start = bytes.length - 12;
    expect([...result.tensors.values()]).toEqual([
      { name: "0", dtype: "F32", shape: [], file, offset: start, sizeBytes: 4 },
      { name: "1", dtype: "F32", shape: [2], file, offset: start + 4, sizeBytes: 8 },
    ]);
    expect(result.metadata).toEqual({ format: "pt" });
  });

  it("accepts what the reference accepts: no tensors, empty tensors, padding, unknown fields", async () => {
    for (const [header, size] of [
      ["{}      ", 0],
      ['  {"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}}', 4],
      ['{"__metadata__":null}', 0],
      [{ a: f32([0, 5], 0, 0), b: f32([1], 0, 4), c: f32([0], 4, 4), "": f32([0], 4, 4) }, 4],
      [{ a: { dtype: "F4", shape: [2], data_offsets: [0, 1] } }, 1],
    ] as const) {
      writeFileSync(file, craft(header, size));
      await expect(readHeader(file)).resolves.toBeDefined();
    }
  });

  it.each([
    [
      "an empty file",
      Buffer.alloc(0),
      `expected at least 8 bytes of safetensors, got 0. ${DAMAGED}`,
    ],
    [
      "a long header",
      craft("{}", 0, 100_000_001n),
      "a safetensors header has at most 100000000 bytes, got 100000001. Check that this is a safetensors file.",
    ],
    [
      "a huge header",
      craft("{}", 0, 2n ** 64n - 1n),
      "at most 100000000 bytes, got 18446744073709551615",
    ],
    [
      "a cut header",
      craft("{}", 0, 3n),
      `the header needs 11 bytes, got a file of 10 bytes. ${DAMAGED}`,
    ],
    [
      "other bytes",
      craft("{}", 0, 0n),
      `expected a JSON header, got end of text at line 1, column 1.`,
    ],
    ["no JSON", craft('{"a" 1}', 0), 'expected a JSON header, got "1}" at line 1, column 6.'],
    ["a byte order mark", craft("\ufeff{}", 0), "expected a JSON header, got"],
    ["bytes after it", craft("{}\0", 0), "expected a JSON header, got"],
    ["no UTF-8", Buffer.concat([craft("", 0, 1n), Buffer.of(0xff)]), "expected a header in UTF-8"],
    ["an array", craft([1], 0), "expected a JSON object as header, got [1]."],
    [
      "metadata of numbers",
      craft({ __metadata__: { a: 1 } }, 0),
      '__metadata__ maps names to strings, got {"a":1}.',
    ],
    [
      "a repeated name",
      craft(
        '{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}',
        4,
      ),
      'expected each name once in the header, got "a" twice.',
    ],
    [
      "no object",
      craft({ a: 1 }, 0),
      'tensor "a": expected an object with dtype, shape, data_offsets, got 1.',
    ],
    [
      "a wrong dtype",
      craft({ a: { ...f32([1], 0, 4), dtype: "F31" } }, 4),
      'tensor "a": dtype is one of BOOL, ',
    ],
    [
      "a dtype of Object's",
      craft({ a: { ...f32([1], 0, 4), dtype: "toString" } }, 4),
      'U64, got "toString".',
    ],
    [
      "a negative size",
      craft({ a: f32([-1], 0, 4) }, 4),
      'tensor "a": shape is a list of integers ≥ 0, got [-1].',
    ],
    [
      "a broken size",
      craft({ a: f32([0.5], 0, 2) }, 2),
      "shape is a list of integers ≥ 0, got [0.5].",
    ],
    [
      "no shape",
      craft({ a: { dtype: "F32", data_offsets: [0, 4] } }, 4),
      "integers ≥ 0, got nothing.",
    ],
    [
      "a giant shape",
      craft({ a: f32([2 ** 40, 2 ** 40, 0], 0, 0) }, 0),
      'tensor "a": expected at most 2^53 - 1 elements',
    ],
    [
      "one offset",
      craft({ a: { ...f32([1], 0, 4), data_offsets: [0] } }, 4),
      "data_offsets is [begin, end] in bytes, got [0].",
    ],
    [
      "a negative offset",
      craft({ a: f32([1], -4, 0) }, 4),
      "data_offsets is [begin, end] in bytes, got [-4,0].",
    ],
    [
      "reversed offsets",
      craft({ a: f32([1], 4, 0) }, 4),
      "data_offsets span 4 bytes for F32 [1], got [4,0].",
    ],
    [
      "a wrong span",
      craft({ a: f32([2, 3], 0, 20) }, 20),
      `data_offsets span 24 bytes for F32 [2,3], got [0,20]. ${DAMAGED}`,
    ],
    [
      "half a byte",
      craft({ a: { ...f32([1], 0, 1), dtype: "F4" } }, 1),
      "data_offsets span 0.5 bytes for F4 [1]",
    ],
    [
      "an overlap",
      craft({ a: f32([2], 0, 8), b: f32([1], 4, 8) }, 8),
      `tensor "b": expected its data to begin at byte 8, got 4: it overlaps the tensor before it. ${DAMAGED}`,
    ],
    [
      "a hole",
      craft({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12),
      "begin at byte 4, got 8: it leaves a hole before it.",
    ],
    [
      "a cut file",
      craft({ a: f32([4], 0, 16) }, 15),
      /^tensor "a": needs the file's bytes up to \d+, got a file of \d+ bytes: it is truncated\./,
    ],
    [
      "bytes at the end",
      craft({ a: f32([1], 0, 4) }, 5),
      "expected the file to end with its last tensor at byte",
    ],
    [
      "a Git LFS pointer",
      Buffer.from("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
      "expected the file's contents, got a Git LFS pointer (the repository was cloned without its large files). " +
        "Run `git lfs pull` in that repository or download the file itself.",
    ],
  ])("refuses %s", async (_name, bytes, expected) => {
    const message = await headerError(bytes);
    if (typeof expected === "string") expect(message).toContain(expected);
    else expect(message).toMatch(expected);
  });

  it("refuses a missing file and a directory", async () => {
    const absent = join(directory, "absent.safetensors");
    await expect(readHeader(absent)).rejects.toMatchObject({
      code: "checkpoint",
      message: `${absent}: expected a safetensors file, got nothing at this path. Check the path.`,
    });
    await expect(readHeader(directory)).rejects.toMatchObject({
      code: "io",
      message: `${directory}: cannot read the weights, it is a directory, expected a file. Check the path.`,
    });
    await expect(readHeader("/dev/null")).rejects.toMatchObject({ code: "io" });
  });

  it("throws nothing but LowrankError, whatever the bytes", async () => {
    const valid = craft(
      { __metadata__: { format: "pt" }, a: f32([2, 2], 0, 16), b: f32([3], 16, 28) },
      28,
    );
    const mutated = fc
      .array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
      .map((changes) => {
        const bytes = Buffer.from(valid);
        for (const [at, value] of changes) bytes[at] = value;
        return bytes;
      });
    const cut = fc.nat(valid.length).map((length) => valid.subarray(0, length));
    const anyHeader = fc
      .tuple(fc.json(), fc.nat(40))
      .map(([json, dataBytes]) => craft(json, dataBytes));
    const anyEntry = fc
      .record({
        dtype: fc.oneof(fc.constantFrom("F32", "F16", "F4", "BOOL"), fc.jsonValue()),
        shape: fc.oneof(fc.array(fc.oneof(fc.nat(3), fc.double())), fc.jsonValue()),
        data_offsets: fc.oneof(fc.tuple(fc.nat(30), fc.nat(30)), fc.jsonValue()),
      })
      .map((entry) => craft({ a: entry }, 16));
    const anything = fc.uint8Array({ maxLength: 200 });
    await fc.assert(
      fc.asyncProperty(fc.oneof(mutated, cut, anyHeader, anyEntry, anything), async (bytes) => {
        writeFileSync(file, bytes);
        try {
          const { tensors } = await readHeader(file);
          for (const info of tensors.values()) {
            expect(info.offset + info.sizeBytes).toBeLessThanOrEqual(bytes.length);
            await readTensor(info);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(LowrankError);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("writeSafetensors", () => {
  it("writes what the reference implementation writes", async () => {
    await writeSafetensors(
      file,
      [
        { name: "b", dtype: "F16", shape: [2], data: Uint16Array.of(0x3c00, 0xc000) },
        { name: "10", dtype: "F32", shape: [1], data: Float32Array.of(1) },
        { name: "9é", dtype: "F32", shape: [1], data: Float32Array.of(2) },
        { name: "s", dtype: "I64", shape: [], data: BigInt64Array.of(-1n) },
        { name: "m", dtype: "BOOL", shape: [1], data: Uint8Array.of(1) },
      ],
      { format: "pt" },
    );
    const json =
      '{"__metadata__":{"format":"pt"},"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]},' +
      '"10":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},"9é":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},' +
      '"b":{"dtype":"F16","shape":[2],"data_offsets":[16,20]},"m":{"dtype":"BOOL","shape":[1],"data_offsets":[20,21]}}';
    const header = Buffer.from(json + " ".repeat((8 - (Buffer.byteLength(json) % 8)) % 8));
    const data = "ffffffffffffffff0000803f00000040003c00c001";
    expect(readFileSync(file)).toEqual(
      Buffer.concat([craft(header.toString(), 0), Buffer.from(data, "hex")]),
    );
    expect(readdirSync(directory)).toEqual(["model.safetensors"]);
  });

  it("writes an empty file as the reference does", async () => {
    await writeSafetensors(file, []);
    expect(readFileSync(file)).toEqual(craft("{}      ", 0));
  });

  it("round-trips every dtype bit for bit, in any order", async () => {
    const tensor = fc
      .record({
        dtype: fc.constantFrom(...(Object.keys(STORED_DTYPES) as StoredDtype[])),
        shape: fc.array(fc.nat(4), { maxLength: 3 }),
        name: fc
          .string({ unit: "grapheme", maxLength: 8 })
          .filter((name) => name !== "__metadata__"),
        seed: fc.nat(255),
      })
      .filter(({ dtype, shape }) => (product(shape) * STORED_DTYPES[dtype].bits) % 8 === 0);
    const metadata = fc.dictionary(
      fc.string({ unit: "grapheme" }),
      fc.string({ unit: "grapheme" }),
    );
    const files = fc.uniqueArray(tensor, { selector: ({ name }) => name, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(files, metadata, async (described, metadata) => {
        const tensors = described.map(({ name, dtype, shape, seed }) => {
          const bytes = new Uint8Array((product(shape) * STORED_DTYPES[dtype].bits) / 8);
          for (let i = 0; i < bytes.length; i++) bytes[i] = (seed * (i + 1) * 37) & 255;
          return { name, dtype, shape, data: bytes };
        });
        await writeSafetensors(file, tensors, metadata);
        const first = readFileSync(file);
        const header = await readHeader(file);
        expect(header.metadata).toEqual({ ...metadata });
        expect(header.tensors.size).toBe(tensors.length);
        const typed: { name: string; dtype: StoredDtype; shape: number[]; data: StoredArray }[] =
          [];
        for (const { name, dtype, shape, data } of tensors) {
          const info = header.tensors.get(name)!;
          expect(info).toMatchObject({ dtype, shape });
          const read = await readTensor(info);
          expect(read).toBeInstanceOf(STORED_DTYPES[dtype].array);
          expect(new Uint8Array(read.buffer)).toEqual(data);
          typed.unshift({ name, dtype, shape, data: read });
        }
        await writeSafetensors(file, typed, metadata);
        expect(readFileSync(file)).toEqual(first);
      }),
      { numRuns: 100 },
    );
  });

  it("lists everything that does not fit, and leaves the file alone", async () => {
    writeFileSync(file, "before");
    const write = writeSafetensors(
      file,
      [
        { name: "a", dtype: "F32", shape: [2], data: Float32Array.of(1) },
        { name: "a", dtype: "F16", shape: [2], data: Float32Array.of(1) },
        { name: "__metadata__", dtype: "U8", shape: [0.5], data: new Uint8Array(1) },
        { name: "\ud800", dtype: "U8", shape: [], data: new Uint8Array(1) },
      ],
      { key: "\udc00" },
    );
    await expect(write).rejects.toMatchObject({
      code: "checkpoint",
      message:
        `${file}: cannot write these tensors:\n` +
        '  tensor "a": expected 8 bytes for F32 [2], got 4.\n' +
        '  tensor "a": expected each name once, got it twice.\n' +
        '  tensor "a": expected Uint16Array or raw bytes for F16, got Float32Array.\n' +
        '  tensor "__metadata__": the name is reserved. Choose another one.\n' +
        '  tensor "__metadata__": expected integers ≥ 0 as shape, got [0.5].\n' +
        '  tensor "\\ud800": expected valid Unicode. Choose another name.\n' +
        '  metadata "key": expected a string of valid Unicode.',
    });
    expect(readFileSync(file, "utf8")).toBe("before");
  });

  it("fails clearly where the directory is missing", async () => {
    const target = join(directory, "absent", "x.safetensors");
    await expect(writeSafetensors(target, [])).rejects.toMatchObject({
      code: "io",
      message: `${target}: cannot write, it does not exist. Check the path.`,
    });
  });
});

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** Much faster than `toEqual` on long arrays. */
function sameBytes(a: Float32Array, b: Float32Array): boolean {
  const [x, y] = [a, b].map((v) => new Uint8Array(v.buffer, v.byteOffset, v.byteLength));
  return Buffer.compare(x!, y!) === 0;
}

async function stored(dtype: StoredDtype, data: StoredArray): Promise<TensorInfo> {
  const shape = [data.length];
  await writeSafetensors(file, [{ name: "t", dtype, shape, data }]);
  return (await readHeader(file)).tensors.get("t")!;
}

describe("readFloat32", () => {
  it("widens across chunk borders, into a given array or a new one", async () => {
    const count = 300_001;
    const values = Float32Array.from({ length: count }, (_, i) => (i % 2048) / 1024 - 1);
    const exact: [StoredDtype, StoredArray][] = [
      ["F32", values],
      ["F16", float32ToF16(values)],
      ["F64", Float64Array.from(values)],
    ];
    for (const [dtype, data] of exact) {
      expect(sameBytes(await readFloat32(await stored(dtype, data)), values)).toBe(true);
    }
    const coarse = values.map((value) => Math.round(value * 64) / 64);
    const info = await stored("BF16", float32ToBF16(coarse));
    const room = new Float32Array(count + 2).fill(7);
    const into = room.subarray(1, -1);
    expect(await readFloat32(info, into)).toBe(into);
    expect(sameBytes(into, coarse)).toBe(true);
    expect([room[0], room.at(-1)]).toEqual([7, 7]);
  });

  it("refuses integers, wrong targets and files that shrank", async () => {
    const integers = await stored("I32", Int32Array.of(1, 2));
    await expect(readFloat32(integers)).rejects.toMatchObject({
      code: "checkpoint",
      message: `${file}: tensor "t": expected F32, F16, BF16 or F64, got I32. Convert it to one of them.`,
    });
    const info = await stored("F16", Uint16Array.of(1, 2));
    await expect(readFloat32(info, new Float32Array(3))).rejects.toThrow(
      `${file}: tensor "t": has 2 elements, got a target of 3. Pass one of that length.`,
    );
    writeFileSync(file, "");
    await expect(readFloat32(info)).rejects.toThrow("got 0: the file was cut while it was read.");
    rmSync(file);
    await expect(readTensor(info)).rejects.toMatchObject({ code: "checkpoint" });
  });
});

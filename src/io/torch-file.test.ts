import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LowrankError } from "../errors.ts";
import { PickleProblem, unpickle } from "./pickle.ts";
import { readFloat32 } from "./safetensors.ts";
import { readTorchFile } from "./torch-file.ts";

/** Files that torch.save of torch 2.15 wrote, in base64: a state dict of F32, BF16 and F16 (a view of the last rows), the same in
 * pickle protocol 4, and what is refused. */
const GOLDEN = JSON.parse(
  readFileSync(join(import.meta.dirname, "torch-file.golden.json"), "utf8"),
) as Record<string, string>;

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "lowrank-torch-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

function written(contents: Uint8Array): string {
  const file = join(directory, "adapter_model.bin");
  writeFileSync(file, contents);
  return file;
}

const golden = (name: string): Buffer => Buffer.from(GOLDEN[name]!, "base64");
const read = (name: string) => readTorchFile(written(golden(name)));

describe("files of torch.save", () => {
  for (const name of ["stateDict", "protocol4"]) {
    test(`${name}: names, types, shapes, values`, async () => {
      const tensors = await read(name);
      const found = [...tensors.values()].map(
        (info) => `${info.name} ${info.dtype} [${info.shape}]`,
      );
      expect(found).toEqual([
        "q.lora_A.weight F32 [2,3]",
        "q.lora_B.weight BF16 [1,2]",
        "score.weight F16 [2,2]",
      ]);
      const values = [];
      for (const info of tensors.values()) values.push([...(await readFloat32(info))]);
      expect(values).toEqual([
        [1, -2, 3, 4, 5, 6.5],
        [0.5, 0.25],
        [2, 3, 4, 5],
      ]);
    });
  }

  test("what a pickle imports is named, and nothing is executed", async () => {
    for (const name of ["call", "name"]) {
      await expect(read(name)).rejects.toThrow(
        'adapter_model.bin: expected a pickle of tensors alone, got another: it imports "posix.system". Nothing of it was executed.',
      );
    }
  });

  test("what is refused says why", async () => {
    await expect(read("beforeVersion16")).rejects.toThrow(
      "torch's format from before version 1.6 is not supported. Convert it in Python: torch.save(torch.load(file), file).",
    );
    await expect(read("transposed")).rejects.toThrow(
      'tensor "a": expected elements in row-major order, got strides [1, 3]. Call contiguous() on it before saving.',
    );
    await expect(read("list")).rejects.toThrow("expected a dictionary of tensors.");
    await expect(readTorchFile(written(Buffer.from("nothing")))).rejects.toThrow(
      "expected a zip archive as torch.save writes it, got something else.",
    );
    await expect(readTorchFile(join(directory, "absent.bin"))).rejects.toThrow("does not exist");
  });
});

const outcome = (contents: Uint8Array) =>
  readTorchFile(written(contents)).then(
    () => undefined,
    (error: unknown) => error,
  );

describe("damaged files", () => {
  test("cut anywhere: one of our errors", async () => {
    const whole = golden("stateDict");
    for (let length = 0; length < whole.length; length += 31) {
      expect(await outcome(whole.subarray(0, length))).toBeInstanceOf(LowrankError);
    }
  });

  test("changed anywhere: read, or one of our errors", async () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 8 }), async (changes) => {
        const contents = Buffer.from(golden("stateDict"));
        for (const [place, byte] of changes) contents[place % contents.length] = byte;
        const error = await outcome(contents);
        return error === undefined || error instanceof LowrankError;
      }),
      { numRuns: 200, seed: 7 },
    );
  });

  test("pickles of random operations end, with a value or a problem", () => {
    const hooks = { knows: () => true, call: () => new Map(), load: (id: unknown) => id };
    const operation = fc.oneof(
      fc.constantFrom(..."()]}eust.NRbaQq\x00h\x00".split("").map((c) => c.charCodeAt(0))),
      fc.constantFrom(0x80, 0x85, 0x86, 0x87, 0x88, 0x89, 0x93, 0x94, 0x8c, 0x58, 0x4b, 0x8a),
      fc.nat(255),
    );
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200 }), (bytes) => {
        try {
          unpickle(Uint8Array.from(bytes), hooks);
          return true;
        } catch (error) {
          return error instanceof PickleProblem;
        }
      }),
      { numRuns: 1000, seed: 7 },
    );
  });

  test("sizes that are only claimed allocate nothing", () => {
    const hooks = { knows: () => false, call: () => null, load: () => null };
    // A text of 2³¹ bytes, and one of 2⁶² bytes.
    for (const bytes of [
      [0x58, 0, 0, 0, 0x80, 0x2e],
      [0x8d, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x2e],
    ]) {
      expect(() => unpickle(Uint8Array.from(bytes), hooks)).toThrow("the pickle ends early");
    }
  });
});

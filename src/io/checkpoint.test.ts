import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LowrankError } from "../errors.ts";
import { matchTensors, openCheckpoint } from "./checkpoint.ts";
import { findNonFinite, readFloat32, readTensor, writeSafetensors } from "./safetensors.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "checkpoint-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const INDEX = "model.safetensors.index.json";

async function shard(name: string, ...tensorNames: string[]): Promise<void> {
  await writeSafetensors(
    join(root, name),
    tensorNames.map((tensor) => ({
      name: tensor,
      dtype: "F32" as const,
      shape: [1, 2],
      data: Float32Array.of(1, 2),
    })),
  );
}

function index(weightMap: unknown): void {
  writeFileSync(join(root, INDEX), JSON.stringify({ weight_map: weightMap }));
}

async function failure(): Promise<string> {
  const error: unknown = await openCheckpoint(root).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(LowrankError);
  expect(error).toMatchObject({ code: "checkpoint" });
  return (error as Error).message;
}

describe("openCheckpoint", () => {
  it("prefers model.safetensors, also behind a link", async () => {
    await shard("blob", "a");
    symlinkSync(join(root, "blob"), join(root, "model.safetensors"));
    await shard("other.safetensors", "b");
    index({ b: "other.safetensors" });
    const checkpoint = await openCheckpoint(root);
    expect([...checkpoint.tensors.keys()]).toEqual(["a"]);
    expect(checkpoint.directory).toBe(root);
  });

  it("joins the shards of an index and ignores what it does not map", async () => {
    await shard("model-1.safetensors", "a", "unmapped");
    mkdirSync(join(root, "sub"));
    await shard("sub/model-2.safetensors", "b");
    index({ b: "sub/model-2.safetensors", a: "model-1.safetensors" });
    const { tensors } = await openCheckpoint(root);
    expect([...tensors.keys()].sort()).toEqual(["a", "b"]);
    expect(tensors.get("b")!.file).toBe(join(root, "sub/model-2.safetensors"));
  });

  it("takes a single file of another name, beside an adapter", async () => {
    await shard("model.fp16.safetensors", "a");
    await shard("adapter_model.safetensors", "b");
    expect([...(await openCheckpoint(root)).tensors.keys()]).toEqual(["a"]);
  });

  it("lists all problems of an index in one error", async () => {
    await shard("one.safetensors", "a");
    writeFileSync(join(root, "two.safetensors"), "short");
    index({
      a: "one.safetensors",
      b: "one.safetensors",
      c: "two.safetensors",
      d: "three.safetensors",
      e: "../four.safetensors",
      f: "/etc/passwd",
      g: "sub\\..\\..\\five",
    });
    expect(await failure()).toBe(
      `${join(root, INDEX)}: every tensor is in the shard that the index names, got:\n` +
        `  ${join(root, "two.safetensors")}: expected at least 8 bytes of safetensors, got 5. ` +
        "The file is damaged or incomplete: download or save it again.\n" +
        `  ${join(root, "three.safetensors")}: expected a safetensors file, got nothing at this path. Check the path.\n` +
        '  shard "../four.safetensors" is outside of the model directory.\n' +
        '  shard "/etc/passwd" is outside of the model directory.\n' +
        '  shard "sub\\\\..\\\\..\\\\five" is outside of the model directory.\n' +
        "  b is not in one.safetensors, where the index puts it.\n" +
        "Download the missing or damaged files again.",
    );
  });

  it.each([
    [
      "[]",
      'expected an object "weight_map" from tensor names to files, got none. Download the index again.',
    ],
    ['{"weight_map": []}', 'expected an object "weight_map"'],
    [
      '{"weight_map": {"a": 1, "b": ""}}',
      "weight_map names a file for each tensor, got something else for a, b.",
    ],
    ['{"weight_map"}', `${INDEX}:1:14: expected the checkpoint index in JSON, got "}".`],
    ["version https://git-lfs.github.com/spec/v1", "got a Git LFS pointer"],
  ])("refuses the index %s", async (contents, message) => {
    writeFileSync(join(root, INDEX), contents);
    expect(await failure()).toContain(message);
  });

  it.each([
    [
      ["config.json"],
      "expected model.safetensors or model.safetensors.index.json, got no weights.",
    ],
    [
      ["pytorch_model.bin"],
      "expected weights in safetensors format, got pytorch_model.bin. Convert them to safetensors " +
        "(in Python: AutoModel.from_pretrained(directory).save_pretrained(directory)) or download a safetensors version.",
    ],
    [
      ["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"],
      "expected weights in safetensors format",
    ],
    [
      ["adapter_model.safetensors"],
      "expected a model, got an adapter (adapter_model.safetensors). Pass the adapter's base model here.",
    ],
    [
      ["a.safetensors", "b.safetensors"],
      "exactly one *.safetensors file, got a.safetensors, b.safetensors. Keep one of them, or add the index.",
    ],
  ])("explains a directory of %j", async (names, message) => {
    for (const name of names) writeFileSync(join(root, name), "");
    expect((await failure()).startsWith(`${root}: `)).toBe(true);
    expect(await failure()).toContain(message);
  });

  it("names a missing directory and a file in its place", async () => {
    const absent = join(root, "absent");
    await expect(openCheckpoint(absent)).rejects.toMatchObject({
      code: "io",
      message: `${absent}: cannot read the model directory, it does not exist. Check the path.`,
    });
    writeFileSync(absent, "");
    await expect(openCheckpoint(absent)).rejects.toMatchObject({ code: "io" });
  });

  it("throws nothing but LowrankError, whatever the index and the shards", async () => {
    await shard("good.safetensors", "a", "b");
    const good = readFileSync(join(root, "good.safetensors"));
    const names = fc.constantFrom("good.safetensors", "bad.safetensors", "..", ".", "", "\0", "no");
    const maps = fc.dictionary(fc.constantFrom("a", "b", "c", "__proto__"), names);
    const contents = fc.oneof(
      maps.map((weight_map) => JSON.stringify({ weight_map })),
      fc.json(),
      fc.uint8Array({ maxLength: 50 }),
    );
    await fc.assert(
      fc.asyncProperty(contents, fc.nat(good.length - 1), fc.nat(255), async (text, at, value) => {
        writeFileSync(join(root, INDEX), text);
        const bad = Buffer.from(good);
        bad[at] = value;
        writeFileSync(join(root, "bad.safetensors"), bad);
        await openCheckpoint(root).catch((error: unknown) => {
          expect(error).toBeInstanceOf(LowrankError);
        });
      }),
      { numRuns: 300 },
    );
  });
});

const resolve = (name: string) => (name === "renamed" ? "stored" : undefined);

describe("matchTensors", () => {
  it("maps wanted names to stored ones and returns the rest", async () => {
    await shard("model.safetensors", "bert.x.gamma", "y", "z");
    const checkpoint = await openCheckpoint(root);
    const { tensors, unexpected } = matchTensors(
      [
        { name: "x.weight", shape: [1, 2] },
        { name: "y", shape: [1, 2] },
        { name: "tied", shape: [1, 2] },
      ],
      checkpoint,
      {
        where: "bert",
        resolve: (name) => ({ "x.weight": "bert.x.gamma", tied: "y" })[name],
      },
    );
    expect([...tensors].map(([name, info]) => [name, info.name])).toEqual([
      ["x.weight", "bert.x.gamma"],
      ["y", "y"],
      ["tied", "y"],
    ]);
    expect(unexpected).toEqual(["z"]);
  });

  it("lists everything missing and mis-shaped in one error", async () => {
    await shard("model.safetensors", "a", "b", "stored", "other");
    const checkpoint = await openCheckpoint(root);
    const wanted = [
      { name: "a", shape: [2, 1] },
      { name: "b", shape: [1, 2, 1] },
      { name: "renamed", shape: [] },
      ...Array.from({ length: 23 }, (_, i) => ({ name: `m${i}`, shape: [1] })),
    ];
    const listed = Array.from({ length: 20 }, (_, i) => `  m${i}\n`).join("");
    expect(() => matchTensors(wanted, checkpoint, { where: "gpt2 in models/x", resolve })).toThrow(
      new LowrankError(
        "checkpoint",
        "gpt2 in models/x: the checkpoint holds every tensor of the model in its shape, got:\n" +
          `23 missing:\n${listed}  and 3 more\n` +
          "3 of another shape:\n" +
          "  a: expected [2, 1], got [1, 2]\n" +
          "  b: expected [1, 2, 1], got [1, 2]\n" +
          "  renamed (stored as stored): expected [], got [1, 2]\n" +
          "1 stored but not wanted:\n  other\n" +
          "Check that the weights and the configuration belong together.",
      ),
    );
  });
});

const conformance = join(import.meta.dirname, "../../../shared/conformance");

describe.skipIf(!existsSync(conformance))("conformance checkpoints", () => {
  it("open and widen to finite numbers, all of them", async () => {
    const fixtures = readdirSync(conformance, { withFileTypes: true }).filter((entry) =>
      entry.isDirectory(),
    );
    expect(fixtures.length).toBeGreaterThan(40);
    const dtypes = new Set<string>();
    for (const { name } of fixtures) {
      const { tensors } = await openCheckpoint(join(conformance, name));
      expect(tensors.size).toBeGreaterThan(0);
      for (const info of tensors.values()) {
        dtypes.add(info.dtype);
        if (["F32", "F16", "BF16"].includes(info.dtype)) {
          expect(findNonFinite(await readFloat32(info))).toBe(-1);
        }
      }
    }
    expect([...dtypes]).toEqual(expect.arrayContaining(["F32", "F16", "BF16"]));
  });

  it("are written back byte for byte", async () => {
    const source = join(conformance, "gpt2-causal-lm/model.safetensors");
    const { tensors } = await openCheckpoint(join(conformance, "gpt2-causal-lm"));
    const all = [];
    for (const info of tensors.values()) all.push({ ...info, data: await readTensor(info) });
    await writeSafetensors(join(root, "copy.safetensors"), all, { format: "pt" });
    expect(readFileSync(join(root, "copy.safetensors")).equals(readFileSync(source))).toBe(true);
  });
});

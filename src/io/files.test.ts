import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LowrankError } from "../errors.ts";
import { createOutputDirectory, readJson, writeFileAtomic } from "./files.ts";
import { ioError } from "./io-errors.ts";

let root = "";
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "files-"));
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(root, { recursive: true, force: true });
});

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: raw text`), { code });
}

function* partsUntilFull() {
  yield Buffer.from("new");
  throw systemError("ENOSPC");
}

describe("ioError", () => {
  it.each([
    ["ENOSPC", "no space left on the device. Free some space or choose another place."],
    ["EACCES", "permission denied. Change the permissions or choose another place."],
    ["EROFS", "the file system is read-only. Choose another place."],
    ["ENOTDIR", "a part of the path is a file, expected a directory. Check the path."],
    ["EISDIR", "it is a directory, expected a file. Check the path."],
    ["EWEIRD", "EWEIRD: raw text."],
  ])("explains %s", (code, reason) => {
    const cause = systemError(code);
    const error = ioError("out/x", "write", cause);
    expect(error).toBeInstanceOf(LowrankError);
    expect(error).toMatchObject({ code: "io", message: `out/x: cannot write, ${reason}`, cause });
  });

  it("leaves other errors as they are", () => {
    const own = new LowrankError("data", "x");
    const bug = new TypeError("x is undefined");
    expect(ioError("a", "write", own)).toBe(own);
    expect(ioError("a", "write", bug)).toBe(bug);
  });
});

describe("writeFileAtomic", () => {
  it("writes strings, bytes and parts, over an existing file", async () => {
    const file = join(root, "a.txt");
    await writeFileAtomic(file, "grüße");
    expect(readFileSync(file, "utf8")).toBe("grüße");
    await writeFileAtomic(file, [Buffer.from("one "), new Uint8Array(0), Buffer.from("two")]);
    expect(readFileSync(file, "utf8")).toBe("one two");
    await writeFileAtomic(file, Buffer.of(1, 2));
    expect(readFileSync(file)).toEqual(Buffer.of(1, 2));
    expect(readdirSync(root)).toEqual(["a.txt"]);
  });

  it("keeps the old file and leaves nothing behind when the disk fills up", async () => {
    const file = join(root, "a.txt");
    writeFileSync(file, "old");
    await expect(writeFileAtomic(file, partsUntilFull())).rejects.toMatchObject({
      code: "io",
      message: `${file}: cannot write, no space left on the device. Free some space or choose another place.`,
    });
    expect(readFileSync(file, "utf8")).toBe("old");
    expect(readdirSync(root)).toEqual(["a.txt"]);
  });

  it("leaves nothing behind when the target is a directory", async () => {
    mkdirSync(join(root, "d"));
    await expect(writeFileAtomic(join(root, "d"), "x")).rejects.toMatchObject({ code: "io" });
    expect(readdirSync(root)).toEqual(["d"]);
  });

  it("survives many writers of one file", async () => {
    const file = join(root, "a.txt");
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => writeFileAtomic(file, `${i}`.repeat(9))),
    );
    expect(readFileSync(file, "utf8")).toMatch(/^(\d+)\1{8}$/);
    expect(readdirSync(root)).toEqual(["a.txt"]);
  });
});

describe("readJson", () => {
  it("reads values, with a byte order mark too", async () => {
    const file = join(root, "config.json");
    writeFileSync(file, '\ufeff{"a": [1, null]}');
    expect(await readJson(file, "model configuration")).toEqual({ a: [1, null] });
  });

  it.each([
    [
      '{\n  "a": NaN\n}',
      ':2:8: expected the model configuration in JSON, got "NaN". Correct the file at that place.',
    ],
    [
      "",
      ":1:1: expected the model configuration in JSON, got end of text. Correct the file at that place.",
    ],
    [
      Buffer.of(0x22, 0xff, 0x22),
      ": expected the model configuration in UTF-8, got other bytes. Save it as UTF-8.",
    ],
    [
      "version https://git-lfs.github.com/spec/v1\n",
      ": expected the file's contents, got a Git LFS pointer",
    ],
  ])("refuses %j", async (contents, message) => {
    const file = join(root, "config.json");
    writeFileSync(file, contents);
    const error: unknown = await readJson(file, "model configuration", "tokenizer").catch(
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ name: "LowrankError", code: "tokenizer" });
    expect((error as Error).message.startsWith(file + message)).toBe(true);
  });

  it("names a missing file and a directory", async () => {
    const file = join(root, "absent.json");
    await expect(readJson(file, "model configuration")).rejects.toMatchObject({
      code: "io",
      message: `${file}: cannot read the model configuration, it does not exist. Check the path.`,
    });
    await expect(readJson(root, "model configuration")).rejects.toThrow(
      "cannot read the model configuration, it is a directory, expected a file.",
    );
  });
});

describe("createOutputDirectory", () => {
  it("appears at commit, parents included, and only then", async () => {
    const target = join(root, "runs", "one");
    const output = await createOutputDirectory(target);
    expect(basename(output.path)).toBe(`.one.tmp-${process.pid}`);
    expect(dirname(output.path)).toBe(dirname(target));
    writeFileSync(join(output.path, "a"), "1");
    expect(existsSync(target)).toBe(false);
    await output.commit();
    await output.commit();
    await output.discard();
    expect(readdirSync(join(root, "runs"))).toEqual(["one"]);
    expect(readFileSync(join(target, "a"), "utf8")).toBe("1");
  });

  it("leaves the target as it was at discard", async () => {
    const target = join(root, "one");
    mkdirSync(target);
    writeFileSync(join(target, "old"), "1");
    const output = await createOutputDirectory(target, { overwrite: true });
    writeFileSync(join(output.path, "new"), "1");
    await output.discard();
    await output.commit();
    expect(readdirSync(root)).toEqual(["one"]);
    expect(readdirSync(target)).toEqual(["old"]);
  });

  it("takes an empty directory, refuses a full one and a file", async () => {
    const target = join(root, "one");
    mkdirSync(target);
    await (await createOutputDirectory(target)).commit();
    writeFileSync(join(target, "a"), "1");
    await expect(createOutputDirectory(target)).rejects.toMatchObject({
      code: "io",
      message:
        `${target}: expected a new or empty output directory, got one that already exists with 1 entry. ` +
        "Choose another `output` or pass `overwrite`.",
    });
    const file = join(target, "a");
    await expect(createOutputDirectory(file, { overwrite: true })).rejects.toMatchObject({
      code: "io",
      message:
        `${file}: expected an output directory, got an existing file. ` +
        "Choose another `output`.",
    });
    await expect(createOutputDirectory(join(file, "b"))).rejects.toMatchObject({ code: "io" });
    expect(readdirSync(root)).toEqual(["one"]);
  });

  it("replaces a full directory as a whole with overwrite, also through a link", async () => {
    const target = join(root, "one");
    mkdirSync(target);
    writeFileSync(join(target, "old"), "1");
    symlinkSync(target, join(root, "link"));
    const output = await createOutputDirectory(join(root, "link"), { overwrite: true });
    writeFileSync(join(output.path, "new"), "1");
    await output.commit();
    expect(readdirSync(root).sort()).toEqual(["link", "one"]);
    expect(lstatSync(join(root, "link")).isSymbolicLink()).toBe(true);
    expect(readdirSync(target)).toEqual(["new"]);
  });

  it("never overwrites what the output is made from, also through a link", async () => {
    const target = join(root, "one");
    mkdirSync(target);
    const data = join(target, "data.csv");
    writeFileSync(data, "text,label");
    symlinkSync(target, join(root, "link"));
    for (const input of [data, target, join(root, "link")]) {
      const inputs = [join(root, "elsewhere"), input];
      await expect(createOutputDirectory(target, { overwrite: true, inputs })).rejects.toThrow(
        `${target}: refusing to overwrite a directory that the output is made from: it holds ${input}. ` +
          "Choose another `output`.",
      );
    }
    expect(readdirSync(root).sort()).toEqual(["link", "one"]);
  });

  it("keeps the files when the target was filled in the meantime", async () => {
    const target = join(root, "one");
    const output = await createOutputDirectory(target);
    writeFileSync(join(output.path, "new"), "1");
    mkdirSync(target);
    writeFileSync(join(target, "other"), "1");
    await expect(output.commit()).rejects.toThrow(
      `Choose another \`output\` or pass \`overwrite\`. The files are kept in ${output.path}.`,
    );
    expect(readdirSync(target)).toEqual(["other"]);
    expect(readdirSync(output.path)).toEqual(["new"]);
  });

  it("serves two builders of one directory at a time", async () => {
    const first = await createOutputDirectory(join(root, "one"));
    const second = await createOutputDirectory(join(root, "one"), { overwrite: true });
    expect(second.path).not.toBe(first.path);
    await first.commit();
    await second.commit();
    expect(readdirSync(root)).toEqual(["one"]);
  });

  it("fills the working directory in place, and never overwrites it or the home directory", async () => {
    vi.spyOn(process, "cwd").mockReturnValue(root);
    const output = await createOutputDirectory(root);
    writeFileSync(join(output.path, "new"), "1");
    const inode = lstatSync(root).ino;
    await output.commit();
    expect(lstatSync(root).ino).toBe(inode);
    expect(readdirSync(root)).toEqual(["new"]);
    expect(existsSync(output.path)).toBe(false);
    for (const directory of [root, dirname(root)]) {
      await expect(createOutputDirectory(directory, { overwrite: true })).rejects.toThrow(
        "refusing to overwrite a directory that holds the working directory or the home directory.",
      );
    }
    if (existsSync(homedir()) && readdirSync(homedir()).length > 0) {
      await expect(createOutputDirectory(homedir(), { overwrite: true })).rejects.toThrow(
        "refusing",
      );
    }
  });

  it.skipIf(process.getuid?.() === 0)("explains missing permissions", async () => {
    chmodSync(root, 0o500);
    await expect(createOutputDirectory(join(root, "one"))).rejects.toMatchObject({
      code: "io",
      message:
        `${join(root, "one")}: cannot create the output directory, permission denied. ` +
        "Change the permissions or choose another place.",
    });
    chmodSync(root, 0o700);
  });
});

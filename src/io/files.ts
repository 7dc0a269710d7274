/**
 * @file Files and directories that are either complete or absent: everything is built under a temporary name beside its
 * target and renamed into place. Used by safetensors-write.ts, checkpoint.ts and whatever writes an output directory.
 */
import { randomBytes } from "node:crypto";
import { cp, mkdir, open, readFile, readdir, realpath, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import type { z } from "zod";
import { LowrankError, requirePath, type ErrorCode } from "../errors.ts";
import { listIssues } from "../format.ts";
import { errnoOf, ioError, isLfsPointer, lfsPointerProblem } from "./io-errors.ts";
import { parseJson } from "./json.ts";

/** Largest JSON file that is read: tokenizer files reach 35 MB, V8 strings end at 512 MiB. */
const MAX_JSON_BYTES = 256 * 2 ** 20;

/** Writes a file completely or not at all: temporary name in the same directory, flushed to disk, renamed over the target.
 * `contents` may be a sequence of parts, which are written one after the other as they are made.
 * Errors: LowrankError "io"; the temporary file is removed and the previous file stays as it was. */
export async function writeFileAtomic(
  file: string,
  contents: string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const directory = dirname(file);
  const temporary = join(
    directory,
    `.${basename(file)}.tmp-${process.pid}-${randomBytes(4).toString("hex")}`,
  );
  const parts =
    typeof contents === "string"
      ? [Buffer.from(contents)]
      : contents instanceof Uint8Array
        ? [contents]
        : contents;
  try {
    const handle = await open(temporary, "wx");
    try {
      for await (const part of parts) await writeFully(handle, part);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw ioError(file, "write", error);
  }
  await syncDirectory(directory);
}

/** Writes a value as JSON for people to read, in the same way. */
export async function writeJson(file: string, value: unknown): Promise<void> {
  await writeFileAtomic(file, `${JSON.stringify(value, null, 2)}\n`);
}

/** One write takes at most 2 GiB and may write less than asked. */
async function writeFully(
  handle: Awaited<ReturnType<typeof open>>,
  part: Uint8Array,
): Promise<void> {
  const limit = 64 * 2 ** 20;
  for (let done = 0; done < part.length;) {
    const { bytesWritten } = await handle.write(part, done, Math.min(limit, part.length - done));
    done += bytesWritten;
  }
}

/** Makes a rename durable where the platform can; failing to is no error: the contents are safe already. */
async function syncDirectory(directory: string): Promise<void> {
  try {
    const handle = await open(directory, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch {
    // Windows and some network file systems cannot flush a directory.
  }
}

/** Reads a JSON file. `what` names it in errors ("model configuration"); `code` is that of an error in the contents.
 * Errors: LowrankError "io" when the file cannot be read, `code` when it is not UTF-8 or not JSON (with line and column). */
export async function readJson(
  file: string,
  what: string,
  code: ErrorCode = "config",
): Promise<unknown> {
  let bytes: Buffer;
  try {
    const { size } = await statFile(file);
    if (size > MAX_JSON_BYTES) {
      throw new LowrankError(
        code,
        `${file}: expected the ${what} to have at most ${MAX_JSON_BYTES} bytes, got ${size}. Check that this is the right file.`,
      );
    }
    bytes = await readFile(file);
  } catch (error) {
    throw ioError(file, `read the ${what}`, error);
  }
  if (isLfsPointer(bytes)) throw new LowrankError(code, lfsPointerProblem(file));
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes); // drops a byte order mark
  } catch {
    throw new LowrankError(
      code,
      `${file}: expected the ${what} in UTF-8, got other bytes. Save it as UTF-8.`,
    );
  }
  const result = parseJson(text);
  if ("value" in result) return result.value;
  const { line, column, found } = result.problem;
  throw new LowrankError(
    code,
    `${file}:${line}:${column}: expected the ${what} in JSON, got ${found}. Correct the file at that place.`,
  );
}

/** Reads a JSON file that has to fit a schema. `remedy`: what to do where it does not, a sentence.
 * Errors: those of `readJson`; LowrankError "config" that lists everything in which it differs. */
export async function readJsonAs<T>(
  file: string,
  what: string,
  { schema, remedy }: { readonly schema: z.ZodType<T>; readonly remedy: string },
): Promise<T> {
  const parsed = schema.safeParse(await readJson(file, what));
  if (parsed.success) return parsed.data;
  throw new LowrankError("config", `${file}: ${listIssues(parsed.error)}. ${remedy}`);
}

/** Size of a regular file. Throws what the file system says, or LowrankError "io" for a pipe, socket or device, on which
 * opening could wait forever. */
export async function statFile(file: string): Promise<{ size: number }> {
  const stats = await stat(file);
  if (stats.isDirectory()) throw Object.assign(new Error("is a directory"), { code: "EISDIR" });
  if (!stats.isFile()) {
    throw new LowrankError(
      "io",
      `${file}: expected a regular file, got a pipe, socket or device. Check the path.`,
    );
  }
  return { size: stats.size };
}

/** A directory under construction. */
export interface OutputDirectory {
  /** Where to write files now: a temporary directory beside the target. */
  readonly path: string;
  /** Where the files will be after `commit()`. */
  readonly target: string;
  /** Renames the temporary directory into place. Errors: LowrankError "io"; the files then stay under `path`. */
  commit(): Promise<void>;
  /** Puts what `write` leaves in another temporary directory into place already, while this one goes on: a later `commit()`
   * replaces it. Errors: what `write` throws, or LowrankError "io". */
  commitEarly(write: (path: string) => Promise<void>): Promise<void>;
  /** Removes the temporary directory; the target stays as it was. Does nothing after `commit()`. */
  discard(): Promise<void>;
}

export interface OutputOptions {
  readonly overwrite?: boolean | undefined;
  /** Files and directories that the output is made from: one that holds any of them is not overwritten. */
  readonly inputs?: readonly string[];
}

/** Starts an output directory `.<name>.tmp-<pid>` beside `directory`; parents are created.
 * A target that exists and is not empty is refused, unless `overwrite`: then it is replaced as a whole at `commit()`.
 * Errors: LowrankError "io". */
export async function createOutputDirectory(
  directory: string,
  { overwrite = false, inputs = [] }: OutputOptions = {},
): Promise<OutputDirectory> {
  requirePath("output directory", directory);
  try {
    // Behind a symbolic link the directory it points to is replaced, not the link.
    const target = await realPath(directory);
    if (await checkTarget(directory, target, overwrite)) {
      await refuseInputs(directory, target, inputs);
    }
    const parent = dirname(target);
    await mkdir(parent, { recursive: true });
    const temporary = (): Promise<string> =>
      makeTemporary(join(parent, `.${basename(target)}.tmp-${process.pid}`));
    const path = await temporary();
    let open = true;
    /** Whether what is in the target is of this run. */
    let isOwn = false;
    return {
      path,
      target,
      async commit() {
        if (!open) return;
        await commitDirectory(directory, path, target, overwrite || isOwn);
        open = false;
      },
      async commitEarly(write) {
        const early = await temporary().catch((error: unknown) => {
          throw ioError(directory, "create a directory beside it", error);
        });
        try {
          await write(early);
        } catch (error) {
          await rm(early, { recursive: true, force: true });
          throw error;
        }
        await commitDirectory(directory, early, target, overwrite || isOwn);
        isOwn = true;
      },
      async discard() {
        if (!open) return;
        open = false;
        try {
          // Tried again where a file is being written meanwhile.
          await rm(path, { recursive: true, force: true, maxRetries: 3 });
        } catch (error) {
          throw ioError(path, "remove the directory", error);
        }
      },
    };
  } catch (error) {
    throw ioError(directory, "create the output directory", error);
  }
}

/** Makes an output directory as a whole: what `build` writes into it is put into place, or removed where that fails.
 * Errors: LowrankError "io", or what `build` throws. */
export async function buildOutputDirectory<T>(
  directory: string,
  options: OutputOptions,
  build: (output: OutputDirectory) => Promise<T>,
): Promise<T> {
  const output = await createOutputDirectory(directory, options);
  try {
    const result = await build(output);
    await output.commit();
    return result;
  } catch (error) {
    await output.discard();
    throw error;
  }
}

/** Whether the target holds anything; throws where it must not be replaced. */
async function checkTarget(name: string, target: string, overwrite: boolean): Promise<boolean> {
  let entries: string[];
  try {
    entries = await readdir(target);
  } catch (error) {
    const code = errnoOf(error);
    if (code === "ENOENT") return false;
    if (code !== "ENOTDIR") throw error;
    throw new LowrankError(
      "io",
      `${name}: expected an output directory, got an existing file. Choose another \`output\`.`,
    );
  }
  if (entries.length === 0) return false;
  if (!overwrite) {
    throw new LowrankError(
      "io",
      `${name}: expected a new or empty output directory, got one that already exists with ${entries.length} ` +
        `${entries.length === 1 ? "entry" : "entries"}. ` +
        "Choose another `output` or pass `overwrite`.",
    );
  }
  if (isWithin(process.cwd(), target) || isWithin(homedir(), target)) {
    throw new LowrankError(
      "io",
      `${name}: refusing to overwrite a directory that holds the working directory or the home directory. ` +
        "Choose another `output`.",
    );
  }
  return true;
}

/** A base model or data that a careless `overwrite` would remove. */
async function refuseInputs(
  name: string,
  target: string,
  inputs: readonly string[],
): Promise<void> {
  for (const input of inputs) {
    if (!isWithin(await realPath(input), target)) continue;
    throw new LowrankError(
      "io",
      `${name}: refusing to overwrite a directory that the output is made from: it holds ${input}. ` +
        "Choose another `output`.",
    );
  }
}

/** Without symbolic links, as far as it exists. */
const realPath = (path: string): Promise<string> => realpath(path).catch(() => resolve(path));

function isWithin(path: string, directory: string): boolean {
  const way = relative(directory, path);
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way));
}

async function makeTemporary(stem: string): Promise<string> {
  for (let attempt = 0; ; attempt++) {
    const path = attempt === 0 ? stem : `${stem}-${attempt}`;
    try {
      await mkdir(path);
      return path;
    } catch (error) {
      if (errnoOf(error) !== "EEXIST" || attempt > 1000) throw error;
    }
  }
}

async function commitDirectory(
  name: string,
  path: string,
  target: string,
  overwrite: boolean,
): Promise<void> {
  try {
    const occupied = await checkTarget(name, target, overwrite);
    try {
      if (occupied) await swapDirectories(path, target);
      else if (isWithin(process.cwd(), target)) await moveContents(path, target);
      else await rename(path, target);
    } catch (error) {
      // A mount point, such as a container's volume, cannot be renamed: fill it instead.
      if (!["EBUSY", "EXDEV", "EPERM"].includes(errnoOf(error) ?? "")) throw error;
      await moveContents(path, target);
    }
    await syncDirectory(dirname(target));
  } catch (error) {
    const failure = ioError(name, "put the output directory into place", error);
    if (!(failure instanceof LowrankError)) throw failure;
    throw new LowrankError("io", `${failure.message} The files are kept in ${path}.`, {
      cause: error,
    });
  }
}

/** Old aside, new in, old removed: at no moment is the target half old and half new. */
async function swapDirectories(path: string, target: string): Promise<void> {
  const aside = `${path}.old`;
  await rename(target, aside);
  try {
    await rename(path, target);
  } catch (error) {
    await rename(aside, target);
    throw error;
  }
  // The new directory is in place: failing to remove the old one must not fail the run.
  await rm(aside, { recursive: true, force: true }).catch(() => undefined);
}

async function moveContents(path: string, target: string): Promise<void> {
  for (const entry of await readdir(target)) {
    await rm(join(target, entry), { recursive: true, force: true });
  }
  await cp(path, target, { recursive: true });
  await rm(path, { recursive: true, force: true });
}

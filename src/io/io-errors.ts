/**
 * @file File system errors in plain words, and Git LFS pointers that stand where a file should be.
 */
import { LowrankError } from "../errors.ts";

const EXPLANATIONS: Readonly<Record<string, string>> = {
  ENOENT: "it does not exist. Check the path",
  ENOSPC: "no space left on the device. Free some space or choose another place",
  EDQUOT: "the disk quota is used up. Free some space or choose another place",
  EFBIG:
    "the file is larger than the file system or the process limit allows. Choose another place",
  EACCES: "permission denied. Change the permissions or choose another place",
  EPERM: "operation not permitted. Change the permissions or choose another place",
  EROFS: "the file system is read-only. Choose another place",
  ENOTDIR: "a part of the path is a file, expected a directory. Check the path",
  EISDIR: "it is a directory, expected a file. Check the path",
  EEXIST: "a file of that name is in the way. Choose another place",
  ELOOP: "the symbolic links form a loop. Check the path",
  ENAMETOOLONG: "the name is too long. Choose a shorter one",
  EMFILE: "too many open files. Raise the limit (ulimit -n)",
  ENFILE: "too many open files on this machine. Close other programs",
  EBUSY: "it is in use. Close what uses it or choose another place",
  EIO: "the device reported an input/output error. Check the disk",
};

/** The operating system's code of a failure, such as "ENOENT", or undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === "string" ? code : undefined;
}

/** Translates a file system failure: `<where>: cannot <action>, <reason>. <Remedy>.` with code "io". An error that has no
 * operating system code (a LowrankError, a programming error) is returned as it is. */
export function ioError(where: string, action: string, error: unknown): Error {
  const code = errnoOf(error);
  if (error instanceof LowrankError || code === undefined || !(error instanceof Error)) {
    return error instanceof Error ? error : new Error(String(error));
  }
  const reason = EXPLANATIONS[code] ?? error.message;
  return new LowrankError("io", `${where}: cannot ${action}, ${reason}.`, { cause: error });
}

/** Whether the first bytes are those of a Git LFS pointer: a repository cloned without its large files. */
export function isLfsPointer(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, 24)).toString("latin1") === "version https://git-lfs.";
}

/** The error for a Git LFS pointer in place of the file. */
export function lfsPointerProblem(file: string): string {
  return (
    `${file}: expected the file's contents, got a Git LFS pointer (the repository was cloned without its large files). ` +
    "Run `git lfs pull` in that repository or download the file itself."
  );
}

/** @file The encoding of text files: UTF-8, checked before anything is read out of them. */

import { isUtf8 } from "node:buffer";
import { LowrankError } from "../errors.ts";

/**
 * The bytes of a text without its byte order mark.
 *
 * @param file what messages call it
 * @throws LowrankError "data" that names the first line of another encoding
 */
export function utf8Bytes(file: string, bytes: Buffer): Buffer {
  requireUtf8(file, bytes);
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;
}

/** A byte order mark, or every other byte of the beginning is 0 (more or less: not all is Latin). */
function looksLikeUtf16(bytes: Buffer): boolean {
  const mark = bytes.length < 2 ? 0 : bytes.readUInt16BE(0);
  if (mark === 0xfeff || mark === 0xfffe) return true;
  const start = bytes.subarray(0, 512);
  return start.filter((byte) => byte === 0).length > start.length / 3;
}

/** Text in another encoding would train on broken characters: refused rather than replaced. */
function requireUtf8(file: string, bytes: Buffer): void {
  if (looksLikeUtf16(bytes)) {
    throw new LowrankError(
      "data",
      `${file}: expected UTF-8 text, got UTF-16. Save the file as UTF-8, for example: iconv -f UTF-16 -t UTF-8.`,
    );
  }
  if (isUtf8(bytes)) return;
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const newline = bytes.indexOf(0x0a, start);
    const end = newline === -1 ? bytes.length : newline + 1;
    if (!isUtf8(bytes.subarray(start, end))) break;
    start = end;
  }
  throw new LowrankError(
    "data",
    `${file}: line ${line}: expected UTF-8 text, got bytes of another encoding. ` +
      "Save the file as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8.",
  );
}

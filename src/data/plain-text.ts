/** @file Plain text: a table with one column, a row for each line. */

import { linesOf } from "./lines.ts";
import type { Table } from "./table.ts";

/**
 * The lines of a text file, empty ones included; line ends may be those of any system.
 *
 * @param bytes UTF-8 without a byte order mark
 */
export function readPlainText(file: string, bytes: Buffer): Table {
  const rows = [];
  for (const { line, text } of linesOf(bytes)) rows.push({ line, values: { text } });
  return { file, columns: ["text"], rows, unit: "line", isRunningText: true };
}

/** @file What a task remembers of its training: read back from an adapter, and preferred in other tables. */
import type { z } from "zod";
import type { Table } from "../data/table.ts";
import { LowrankError } from "../errors.ts";
import { listIssues } from "../format.ts";
import { columnOptions, type Columns } from "./options.ts";

/** The state of a saved task. `what`: the task in words; `where`: whose it is. Throws LowrankError("config") that lists every problem. */
export function parseState<S>(
  schema: z.ZodType<S>,
  state: unknown,
  what: string,
  where: string,
): S {
  const parsed = schema.safeParse(state);
  if (parsed.success) return parsed.data;
  throw new LowrankError(
    "config",
    `${where}: not a ${what} task: ${listIssues(parsed.error)}. Train the adapter again.`,
  );
}

/** The columns that are asked for, else those of the training data where the table has them. */
export function knownColumns(table: Table, trained: Columns, asked: Columns = {}): Columns {
  const names = Object.keys(columnOptions) as (keyof Columns)[];
  const columns = names.map((name) => {
    const known = trained[name];
    const isThere = known !== undefined && table.columns.includes(known);
    return [name, asked[name] ?? (isThere ? known : undefined)] as const;
  });
  return Object.fromEntries(columns) as Columns;
}

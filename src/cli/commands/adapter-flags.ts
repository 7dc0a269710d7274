/** @file Flags of the commands that use an adapter. */
import { z } from "zod";
import { LowrankError } from "../../errors.ts";
import { kebabCase, plural } from "../../format.ts";
import { trainOptionsSchema } from "../../train/options.ts";
import { columnOptions, type Columns } from "../../tasks/options.ts";
import { note } from "../terminal.ts";

export const adapterFlags = {
  adapter: z
    .string()
    .min(1)
    .describe("Directory of the adapter, of a stored change, or of a model that was trained whole"),
  model: z
    .string()
    .min(1)
    .optional()
    .describe("Directory of the base model; default: the one that the adapter names"),
  batchSize: z.number().int().positive().default(8).describe("Examples computed together"),
  maxLength: z
    .number()
    .int()
    .positive()
    .optional()
    .describe("Longest sequence in tokens, longer texts are cut; default: that of training"),
  device: trainOptionsSchema.shape.device,
  threads: trainOptionsSchema.shape.threads,
  json: z.boolean().default(false).describe("Print the result as one JSON document"),
} as const;

export const adapterPlaceholders = { adapter: "dir", model: "dir" } as const;

/** What the flags for columns take. */
export const columnPlaceholders = Object.fromEntries(
  Object.keys(columnOptions).map((name) => [name, "name"]),
);

const isColumn = ([name]: [string, unknown]): boolean => name in columnOptions;

/** The flags that name columns, taken out of all flags. */
export function splitColumns<F extends Columns>(
  flags: F,
): { columns: Columns; rest: Omit<F, keyof Columns> } {
  const entries = Object.entries(flags);
  return {
    columns: Object.fromEntries(entries.filter(isColumn)) as Columns,
    rest: Object.fromEntries(entries.filter((entry) => !isColumn(entry))) as Omit<F, keyof Columns>,
  };
}

/** Throws LowrankError("usage") for columns where there is no table that they could be of. */
export function refuseColumns(columns: Columns, why: string): void {
  const given = Object.entries(columns).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${kebabCase(name)}`],
  );
  if (given.length > 0) throw new LowrankError("usage", `${given.join(", ")}: ${why}.`);
}

/** Say what the user should know of an adapter, and of the data that it was used on. */
export function noteWarnings({
  truncated,
  warnings,
}: {
  readonly truncated?: number;
  readonly warnings: readonly string[];
}): void {
  for (const warning of warnings) note(`warning: ${warning}`);
  if (truncated === undefined || truncated === 0) return;
  const were = truncated === 1 ? "was" : "were";
  note(`warning: ${plural(truncated, "text")} ${were} cut to the maximum length.`);
}

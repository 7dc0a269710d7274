/** @file What a user decides about a task: its columns and settings. One schema, used by the options of
 * training, by the flags of all commands and by the documentation. */
import { z } from "zod";
import { COLUMN_ROLES, type ColumnRole } from "../data/columns.ts";

type ColumnOption = `${ColumnRole}Column`;

const optionOf = (role: ColumnRole): ColumnOption => `${role}Column`;

/** Columns by their role, each an optional name: textColumn, labelColumn, … */
export const columnOptions = Object.fromEntries(
  Object.entries(COLUMN_ROLES).map(([role, { what }]) => [
    optionOf(role as ColumnRole),
    z.string().optional().describe(`Column of ${what}; default: by its usual names`),
  ]),
) as Record<ColumnOption, z.ZodOptional<z.ZodString>>;

/** Names of columns that the user gave; others are found by their usual names. */
export type Columns = { readonly [C in ColumnOption]?: string | undefined };

export const CLASS_WEIGHTS = ["none", "balanced"] as const;
export type ClassWeights = (typeof CLASS_WEIGHTS)[number];

export const PROBLEM_CHOICES = ["auto", "single", "multi", "regression"] as const;

/** Settings of tasks beside their columns. */
export const taskSettings = {
  problemType: z
    .enum(PROBLEM_CHOICES)
    .default("auto")
    .describe(
      "What sequence classification predicts: one label, several or a number; auto: by the labels",
    ),
  labelSeparator: z
    .string()
    .min(1)
    .optional()
    .describe("What stands between the labels of a text; default: found among ; | ,"),
  threshold: z
    .number()
    .gt(0)
    .lt(1)
    .default(0.5)
    .describe("Lowest probability of a predicted label, where a text may have several"),
  classWeights: z
    .enum(CLASS_WEIGHTS)
    .default("none")
    .describe("Weights of the classes in the loss: balanced gives each class the same total"),
} as const;

const settingsSchema = z.object(taskSettings);

/** Columns and settings, all optional: defaults are those of `taskSettings`. */
export type TaskOptions = Columns & Partial<z.output<typeof settingsSchema>>;

/** Settings with defaults filled in. */
export function settingsOf(options: TaskOptions): z.output<typeof settingsSchema> {
  return settingsSchema.parse(options);
}

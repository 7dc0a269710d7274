/** @file What a user decides about a task: its columns and settings. One schema, used by the options of
 * training, by the flags of all commands and by the documentation. */
import { z } from "zod";
import { COLUMN_ROLES, columnOption, type ColumnRole } from "../data/columns.ts";
import { SPAN_UNITS } from "./entities/spans.ts";
import { TAG_SCHEMES } from "./entities/tags.ts";

type ColumnOption = `${ColumnRole}Column`;

/** Columns by their role, each an optional name: textColumn, labelColumn, … */
export const columnOptions = Object.fromEntries(
  Object.entries(COLUMN_ROLES).map(([role, { what }]) => [
    columnOption(role as ColumnRole),
    z.string().optional().describe(`Column of ${what}; default: by its usual names`),
  ]),
) as Record<ColumnOption, z.ZodOptional<z.ZodString>>;

/** Names of columns that the user gave; others are found by their usual names. */
export type Columns = { readonly [C in ColumnOption]?: string | undefined };

/** Settings of tasks beside their columns. */
export const taskSettings = {
  problemType: z
    .enum(["auto", "single", "multi", "regression"])
    .default("auto")
    .describe(
      "What sequence classification predicts: single (one label), multi (several) or regression (a number); auto: by the labels",
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
    .enum(["none", "balanced"])
    .default("none")
    .describe("Weights of the classes in the loss: balanced gives each class the same total"),
  stride: z
    .number()
    .int()
    .min(0)
    .default(128)
    .describe("Tokens that neighbouring windows of a long text share"),
  labelAllTokens: z
    .boolean()
    .default(false)
    .describe("Learn a word's tag from all of its tokens, not from the first alone"),
  tagScheme: z
    .enum(TAG_SCHEMES)
    .default("bio")
    .describe("Tags that the model learns, whatever those of the data: iobes also marks ends"),
  tagNames: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe("Names of the tags, in order, where the data has numbers"),
  spanUnit: z
    .enum(SPAN_UNITS)
    .default("utf16")
    .describe(
      "What places of entities count: utf16 units, as JavaScript, or characters, as Python",
    ),
  maxAnswerTokens: z
    .number()
    .int()
    .positive()
    .default(30)
    .describe("Longest answer that is predicted, in tokens"),
  nullThreshold: z
    .number()
    .optional()
    .describe(
      "Predict no answer where it is this much more likely (in logits) than the best one; default: 0 where questions without answer were learned, else there always is one",
    ),
  dropTokenTypes: z
    .boolean()
    .default(false)
    .describe(
      "Do not tell question and context apart by token types: as PEFT's class for question answering",
    ),
} as const;

/** Most answers that are listed. */
export const MAX_N_BEST = 20;

/** Settings that may be others when an adapter is used than they were when it was trained. */
export const useSettings = {
  nBest: z
    .number()
    .int()
    .min(1)
    .max(MAX_N_BEST)
    .optional()
    .describe("How many possible answers to give, the best first; default: 1"),
  nullThreshold: taskSettings.nullThreshold.describe(
    "Predict no answer where it is this much more likely (in logits) than the best one; default: that of training",
  ),
  maxAnswerTokens: taskSettings.maxAnswerTokens
    .unwrap()
    .optional()
    .describe("Longest answer that is predicted, in tokens; default: that of training"),
  stride: taskSettings.stride
    .unwrap()
    .optional()
    .describe("Tokens that neighbouring windows share; default: that of training"),
  threshold: taskSettings.threshold
    .unwrap()
    .optional()
    .describe("Lowest probability of a predicted label; default: that of training"),
} as const;

const useSchema = z.object(useSettings);

/** Settings that were given for the use of an adapter. */
export type UseSettings = z.output<typeof useSchema>;

const settingsSchema = z.object(taskSettings);

/** Columns and settings, all optional: defaults are those of `taskSettings`. */
export type TaskOptions = Columns & Partial<z.output<typeof settingsSchema>>;

/** Settings with defaults filled in. */
export function settingsOf(options: TaskOptions): z.output<typeof settingsSchema> {
  return settingsSchema.parse(options);
}

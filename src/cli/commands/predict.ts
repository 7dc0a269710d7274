/** @file lowrank predict: what an adapter says to inputs from flags, a table or stdin. */
import { readFile } from "node:fs/promises";
import { buffer as readAll } from "node:stream/consumers";
import { z } from "zod";
import { utf8Bytes } from "../../data/utf8.ts";
import { LowrankError } from "../../errors.ts";
import { ioError } from "../../io/io-errors.ts";
import { columnOptions, useSettings } from "../../tasks/options.ts";
import type { Input } from "../../tasks/task.ts";
import { Predictor } from "../../train/predict.ts";
import { defineCommand } from "../command.ts";
import { withProgress } from "../progress-bar.ts";
import { print, printJson } from "../terminal.ts";
import {
  adapterFlags,
  adapterPlaceholders,
  columnPlaceholders,
  noteWarnings,
  refuseColumns,
  splitColumns,
} from "./adapter-flags.ts";

const { adapter, ...otherFlags } = adapterFlags;

const several = (what: string) =>
  z
    .array(z.string())
    .optional()
    .describe(`${what}; may be given several times`)
    .meta({ repeatable: true });

const one = (what: string) => z.string().optional().describe(what);

/** Flags that hold an input's fields, by their names. */
const fieldFlags = {
  text: several("A text to predict for"),
  textPair: one("The second text of a pair"),
  question: several("A question to answer"),
  context: one("The text that holds the answers"),
  prompt: several("A text that is continued by the completion"),
  completion: one("What follows the prompt"),
} as const;

const schema = z.strictObject({
  adapter,
  ...fieldFlags,
  contextFile: z.string().min(1).optional().describe("File with the text that holds the answers"),
  input: z
    .string()
    .min(1)
    .optional()
    .describe("Inputs as a table, in any format that training reads"),
  ...useSettings,
  ...columnOptions,
  ...otherFlags,
});

type Flags = z.output<typeof schema>;
type FieldFlag = keyof typeof fieldFlags;

export const predict = defineCommand({
  description:
    "Predict with an adapter: for the texts of --text, of a table, or the lines of stdin. Prints one line a " +
    "prediction, its parts with tabs between.",
  schema,
  placeholders: {
    ...adapterPlaceholders,
    ...columnPlaceholders,
    input: "file",
    contextFile: "file",
  },
  examples: [
    'lowrank predict --adapter reviews-adapter --text "Great value, would buy again"',
    "lowrank predict --adapter reviews-adapter --input new.csv --json",
    "lowrank predict --adapter reviews-adapter < lines.txt",
    'lowrank predict --adapter answers --question "Who wrote it?" --context-file page.txt',
  ],
  async run(flags) {
    const { columns, rest } = splitColumns(flags);
    const { adapter, input, json, batchSize, maxLength, model, device, threads } = rest;
    const { nBest, nullThreshold, maxAnswerTokens, stride, threshold } = rest;
    const fixed = await fieldValues(flags);
    checkSource(flags, fixed);
    if (input === undefined)
      refuseColumns(columns, "only a table has columns: pass one with --input");
    const settings = { nBest, nullThreshold, maxAnswerTokens, stride, threshold };
    const options = { batchSize, maxLength, model, device, threads, ...settings };
    const predictor = await Predictor.load<unknown>(adapter, options);
    try {
      const inputs =
        input === undefined
          ? await flagInputs(fixed, predictor.task.fields)
          : await predictor.readInputs(input, columns);
      const predictions = await withProgress((progress) => predictor.predict(inputs, progress));
      noteWarnings(predictor);
      if (json) {
        printJson(inputs.map((fields, i) => Object.assign({}, fields, predictions[i])));
        return;
      }
      const lines = predictions.flatMap((prediction) => predictor.task.lines(prediction));
      if (lines.length > 0) print(lines.map((cells) => cells.map(cell).join("\t")).join("\n"));
    } finally {
      await predictor.close();
    }
  },
});

/** Values of the fields that flags gave. */
type FieldValues = Partial<Record<FieldFlag, string | string[]>>;

async function fieldValues(flags: Flags): Promise<FieldValues> {
  const given = Object.fromEntries(
    (Object.keys(fieldFlags) as FieldFlag[]).flatMap((field) =>
      flags[field] === undefined ? [] : [[field, flags[field]]],
    ),
  );
  if (flags.contextFile === undefined) return given;
  if (flags.context !== undefined) {
    throw new LowrankError(
      "usage",
      "--context and --context-file: expected one of them, got both.",
    );
  }
  return { ...given, context: await readTextFile(flags.contextFile) };
}

async function readTextFile(file: string): Promise<string> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw ioError(file, "read the text", error);
  });
  return utf8Bytes(file, bytes).toString();
}

function checkSource({ input }: Flags, given: FieldValues): void {
  const [field] = Object.keys(given);
  if (field !== undefined && input !== undefined) {
    throw new LowrankError("usage", `${flag(field)} and --input: expected one of them, got both.`);
  }
  if (field === undefined && input === undefined && process.stdin.isTTY) {
    throw new LowrankError(
      "usage",
      "there is no text to predict for. Pass --text, --input with a file, or texts on stdin, one a line.",
    );
  }
}

/** An input for each value of the task's first field, from its flag or the lines of stdin; all have the
 * same other fields. Throws LowrankError("usage") for flags that the task has no field for. */
async function flagInputs(given: FieldValues, fields: readonly string[]): Promise<Input[]> {
  const surplus = Object.keys(given).filter((field) => !fields.includes(field));
  if (surplus.length > 0) {
    throw new LowrankError(
      "usage",
      `${surplus.map(flag).join(", ")}: the adapter's task takes ${fields.map(flag).join(", ")}.`,
    );
  }
  const [first, ...others] = fields as [FieldFlag, ...FieldFlag[]];
  const missing = others.filter((field) => given[field] === undefined);
  if (missing.length > 0) {
    throw new LowrankError(
      "usage",
      `${missing.map(flags).join(" and ")} is missing: the adapter's task takes ${fields.map(flags).join(" and ")}. ` +
        "Pass it, or all inputs as a table with --input.",
    );
  }
  const values = given[first] ?? (await readLines());
  const rest = Object.fromEntries(
    others.flatMap((field) => (given[field] === undefined ? [] : [[field, given[field]]])),
  );
  return [values].flat().map((value) => Object.assign({ [first]: value }, rest));
}

/** The flags that give a field. */
const flags = (field: string): string =>
  field === "context" ? "--context or --context-file" : flag(field);

const flag = (field: string): string =>
  `--${field.replaceAll(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`)}`;

/** The lines of stdin; the last one's end is no empty line. */
async function readLines(): Promise<string[]> {
  const bytes = utf8Bytes("stdin", await readAll(process.stdin));
  const lines = bytes.toString().split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

const cell = (value: string | number): string =>
  typeof value === "number"
    ? Number.isInteger(value)
      ? String(value)
      : value.toFixed(4)
    : value.replaceAll(/[\t\r\n]/g, " ");

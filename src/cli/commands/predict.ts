/** @file lowrank predict: labels for texts from flags, a table or stdin. */
import { text as readAll } from "node:stream/consumers";
import { z } from "zod";
import { LowrankError } from "../../errors.ts";
import type { Prediction } from "../../tasks/task.ts";
import { Predictor } from "../../train/predict.ts";
import { defineCommand } from "../command.ts";
import { print, printJson } from "../terminal.ts";
import { adapterFlags, adapterPlaceholders, noteTruncated } from "./adapter-flags.ts";

const { adapter, ...otherFlags } = adapterFlags;

const schema = z.strictObject({
  adapter,
  text: z
    .array(z.string())
    .optional()
    .describe("A text to label; may be given several times")
    .meta({ repeatable: true }),
  input: z
    .string()
    .min(1)
    .optional()
    .describe("Texts to label: CSV, TSV, JSON, JSON lines or Parquet file"),
  ...otherFlags,
});

type Flags = z.output<typeof schema>;

export const predict = defineCommand({
  description:
    "Label texts with an adapter: those of --text, of a table, or the lines of stdin. Prints one line a text, " +
    "the label and its probability with a tab between.",
  schema,
  placeholders: { ...adapterPlaceholders, input: "file" },
  examples: [
    'lowrank predict --adapter reviews-adapter --text "Great value, would buy again"',
    "lowrank predict --adapter reviews-adapter --input new.csv --json",
    "lowrank predict --adapter reviews-adapter < lines.txt",
  ],
  async run(flags) {
    const { adapter, text, input, textColumn, json, ...options } = flags;
    checkSource(flags);
    const predictor = await Predictor.load(adapter, options);
    try {
      const texts =
        text ?? (input ? await predictor.readTexts(input, { textColumn }) : await readLines());
      const predictions = await predictor.predict(texts);
      noteTruncated(predictor.truncated);
      if (json) printJson(predictions.map((prediction, i) => ({ text: texts[i], ...prediction })));
      else if (predictions.length > 0) print(predictions.map(line).join("\n"));
    } finally {
      await predictor.close();
    }
  },
});

function checkSource({ text, input }: Flags): void {
  if (text && input !== undefined) {
    throw new LowrankError("usage", "--text and --input: expected one of them, got both.");
  }
  if (!text && input === undefined && process.stdin.isTTY) {
    throw new LowrankError(
      "usage",
      "there is no text to label. Pass --text, --input with a file, or texts on stdin, one a line.",
    );
  }
}

/** The lines of stdin; the last one's end is no empty line. */
async function readLines(): Promise<string[]> {
  const lines = (await readAll(process.stdin)).split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

const line = ({ label, score }: Prediction): string =>
  `${label.replaceAll(/[\t\r\n]/g, " ")}\t${score.toFixed(4)}`;

/** @file lowrank evaluate: the metrics of an adapter on labelled data. */
import { z } from "zod";
import { Predictor } from "../../train/predict.ts";
import { defineCommand } from "../command.ts";
import { alignRows, formatTable, print, printJson } from "../terminal.ts";
import { adapterFlags, adapterPlaceholders, noteTruncated } from "./adapter-flags.ts";

const { adapter, model, textColumn, ...otherFlags } = adapterFlags;

const schema = z.strictObject({
  adapter,
  data: z.string().min(1).describe("Labelled data: CSV, TSV, JSON, JSON lines or Parquet file"),
  model,
  textColumn,
  labelColumn: z
    .string()
    .optional()
    .describe("Column of the labels; default: that of training, or by its usual names"),
  ...otherFlags,
});

export const evaluate = defineCommand({
  description: "Measure how well an adapter does on labelled texts that it was not trained on.",
  schema,
  placeholders: { ...adapterPlaceholders, data: "file", labelColumn: "name" },
  examples: [
    "lowrank evaluate --adapter reviews-adapter --data test.csv",
    "lowrank evaluate --adapter reviews-adapter --data test.csv --json",
  ],
  async run({ adapter, data, textColumn, labelColumn, json, ...options }) {
    const predictor = await Predictor.load(adapter, options);
    try {
      const metrics = await predictor.evaluate(data, { textColumn, labelColumn });
      noteTruncated(predictor.truncated);
      if (json) {
        const { scalars, details } = metrics;
        printJson({ adapter, data, task: predictor.task.name, metrics: scalars, details });
        return;
      }
      const scalars = Object.entries(metrics.scalars).map(
        ([name, value]) => [name, value.toFixed(4)] as const,
      );
      print([alignRows(scalars), ...predictor.task.tables(metrics).map(formatTable)].join("\n\n"));
    } finally {
      await predictor.close();
    }
  },
});

/** @file lowrank evaluate: the metrics of an adapter on labelled data. */
import { z } from "zod";
import { columnOptions, useSettings } from "../../tasks/options.ts";
import { Predictor } from "../../train/predict.ts";
import { defineCommand } from "../command.ts";
import { withProgress } from "../progress-bar.ts";
import { alignRows, formatTable, print, printJson } from "../terminal.ts";
import {
  adapterFlags,
  adapterPlaceholders,
  columnPlaceholders,
  noteWarnings,
  splitColumns,
} from "./adapter-flags.ts";

const { adapter, model, ...otherFlags } = adapterFlags;

const schema = z.strictObject({
  adapter,
  data: z.string().min(1).describe("Labelled data, in any format that training reads"),
  model,
  ...useSettings,
  ...columnOptions,
  ...otherFlags,
});

export const evaluate = defineCommand({
  description: "Measure how well an adapter does on labelled data that it was not trained on.",
  schema,
  placeholders: { ...adapterPlaceholders, ...columnPlaceholders, data: "file" },
  examples: [
    "lowrank evaluate --adapter reviews-adapter --data test.csv",
    "lowrank evaluate --adapter reviews-adapter --data test.csv --json",
  ],
  async run(flags) {
    const { columns, rest } = splitColumns(flags);
    const { adapter, data, json, ...options } = rest;
    const predictor = await Predictor.load(adapter, options);
    try {
      const metrics = await withProgress((progress) => predictor.evaluate(data, columns, progress));
      noteWarnings(predictor);
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

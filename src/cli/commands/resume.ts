/** @file lowrank resume: an interrupted run goes on. */
import { z } from "zod";
import { trainOptionsSchema } from "../../train/options.ts";
import { Trainer } from "../../train/trainer.ts";
import { defineCommand } from "../command.ts";
import { runTraining, runFlags } from "./training-run.ts";

const file = z.string().min(1).optional();
const { device, threads } = trainOptionsSchema.shape;

const schema = z.strictObject({
  from: z.string().min(1).describe("Output directory of the run that was interrupted"),
  model: file.describe("Directory of the base model, where it is now; default: where it was"),
  data: file.describe("The training data, where it is now; default: where it was"),
  validationData: file.describe("The validation data, where it is now; default: where it was"),
  device: device.unwrap().optional().describe("Where to compute; default: as before"),
  threads: threads.unwrap().optional().describe("CPU threads; 0: one per core; default: as before"),
  ...runFlags,
});

export const resume = defineCommand({
  description:
    "Go on with a training run that was stopped by Ctrl-C, or that broke off after lowrank train --save-every had saved. " +
    "The same steps follow as if it had not been interrupted; at the end the directory is replaced.",
  schema,
  placeholders: {
    from: "dir",
    model: "dir",
    data: "file",
    validationData: "file",
    dumpGraph: "file",
  },
  examples: [
    "lowrank resume --from reviews-adapter",
    "lowrank resume --from reviews-adapter --data moved/reviews.csv",
  ],
  notes: [
    "All other options are those that the run began with. The data has to be the same; Ctrl-C stops and saves as before.",
  ],
  async run({ from, dumpGraph, quiet, json, ...changes }) {
    await runTraining({ dumpGraph, quiet, json, output: from }, (hooks) =>
      Trainer.resume(from, changes, hooks),
    );
  },
});

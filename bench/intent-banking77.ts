/** @file all-MiniLM-L6-v2 on BANKING77, 77 intents of a bank's customers, whole run: the recipe and the
 * report of bench/peers/intent_banking77.py (LoRA r = 16 on every linear layer, accuracy on test.csv). */
import { join } from "node:path";
import { runFlags, wholeRun } from "./whole-run.ts";

const { data = "../shared/data/banking77", batch = 32, ...run } = runFlags();

await wholeRun(
  {
    ...run,
    data: join(data, "train.csv"),
    validationSplit: 0,
    batchSize: batch,
    schedule: "linear",
    warmupRatio: 0.05,
    maxGradNorm: 1,
    r: 16,
    loraAlpha: 16,
    targetModules: "all-linear",
    // Longer than the longest text: nothing is cut.
    maxLength: 256,
  },
  { test: join(data, "test.csv") },
);

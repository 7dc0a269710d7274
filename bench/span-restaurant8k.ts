/** @file all-MiniLM-L6-v2 on RESTAURANTS-8K as questions about spans, whole run: the recipe and the report of
 * bench/peers/span_restaurant8k.py (LoRA r = 16 on every linear layer, exact match and F1 on test.json, here from 0
 * to 1). The folder is the one that bench/peers/restaurant8k_to_squad.py writes. */
import { join } from "node:path";
import { runFlags, wholeRun } from "./whole-run.ts";

const { data = "runs/restaurant8k-squad", batch = 16, ...run } = runFlags();

await wholeRun(
  {
    ...run,
    task: "question-answering",
    data: join(data, "train.json"),
    validationSplit: 0,
    batchSize: batch,
    schedule: "linear",
    warmupRatio: 0.05,
    maxGradNorm: 1,
    r: 16,
    loraAlpha: 16,
    targetModules: "all-linear",
    // As PEFT's class for this task does.
    dropTokenTypes: true,
    // Longer than the longest question with its utterance: nothing is cut.
    maxLength: 384,
  },
  { test: join(data, "test.json") },
);

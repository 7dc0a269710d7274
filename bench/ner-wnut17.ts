/** @file all-MiniLM-L6-v2 on WNUT 17, emerging named entities of six types, whole run: the recipe and the
 * report of bench/peers/ner_wnut17.py (LoRA r = 16 on every linear layer). In the report, f1, precision and recall are
 * seqeval's default mode and strictF1 its strict mode, on dev and test. */
import { join } from "node:path";
import { runFlags, wholeRun } from "./whole-run.ts";

const { data = "../shared/data/wnut17", batch = 16, ...run } = runFlags();

await wholeRun(
  {
    ...run,
    task: "token-classification",
    data: join(data, "wnut17train.conll"),
    validationSplit: 0,
    batchSize: batch,
    schedule: "linear",
    warmupRatio: 0.05,
    maxGradNorm: 1,
    r: 16,
    loraAlpha: 16,
    targetModules: "all-linear",
    maxLength: 128,
  },
  { dev: join(data, "emerging.dev.conll"), test: join(data, "emerging.test.annotated") },
);

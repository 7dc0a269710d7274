/**
 * @file A language model in a few lines: train on a table of prompts and completions, and ask which of several completions
 * of a prompt is the likeliest.
 *
 *     node --import tsx examples/completions.ts path/to/model train.jsonl style-adapter "name : Cotto" "One." "Another."
 */
import { Trainer, type LanguagePrediction } from "lowrank";

const [model = "", data = "", output = "", prompt = "", ...completions] = process.argv.slice(2);

const trainer = await Trainer.create({
  task: "causal-lm",
  model,
  data,
  output,
  learningRate: 1e-3,
});
trainer.on((event) => {
  if (event.type === "step") console.error(`step ${event.step}: loss ${event.loss.toFixed(4)}`);
  if (event.type === "warning") console.error(event.message);
});
const { metrics } = await trainer.train();
console.log(metrics?.scalars);

const inputs = completions.map((completion) => ({ prompt, completion }));
const predictions = await trainer.predict<LanguagePrediction>(inputs);
for (const [i, { perplexity, tokens }] of predictions.entries()) {
  console.log(`${perplexity.toFixed(2)} over ${tokens} tokens: ${completions[i]}`);
}
await trainer.close();

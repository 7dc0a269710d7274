/**
 * @file Named entities in a few lines: train on a file of tagged words, and mark what is found in texts.
 *
 *     node --import tsx examples/named-entities.ts path/to/model train.conll names-adapter "Ada lives in Oslo."
 */
import { Trainer, type EntityPrediction } from "lowrank";

const [model = "", data = "", output = "", ...texts] = process.argv.slice(2);

const trainer = await Trainer.create({ task: "ner", model, data, output, epochs: 3 });
trainer.on((event) => {
  if (event.type === "step") console.error(`step ${event.step}: loss ${event.loss.toFixed(4)}`);
});
const { metrics } = await trainer.train();
console.log(metrics?.scalars);

const predictions = await trainer.predict<EntityPrediction>(texts);
for (const [i, { entities }] of predictions.entries()) {
  let marked = texts[i]!;
  // From the end, so that places before stay right.
  for (const { start, end, type } of entities.toReversed()) {
    marked = `${marked.slice(0, start)}[${marked.slice(start, end)}](${type})${marked.slice(end)}`;
  }
  console.log(marked);
}
await trainer.close();

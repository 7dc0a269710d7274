/**
 * @file The library in a few lines: train a classifier on a table of texts and labels, and use it.
 *
 *     node --import tsx examples/train-csv.ts path/to/model reviews.csv reviews-adapter "Great value"
 */
import { Trainer } from "lowrank";

const [model = "", data = "", output = "", ...texts] = process.argv.slice(2);

const trainer = await Trainer.create({ model, data, output, epochs: 2 });
trainer.on((event) => {
  if (event.type === "step") console.error(`step ${event.step}: loss ${event.loss.toFixed(4)}`);
});
const { metrics } = await trainer.train();
console.log(metrics?.scalars, await trainer.predict(texts));
await trainer.close();

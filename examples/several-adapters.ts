/**
 * @file Several adapters in one process: each has a task of its own, the weights of the base model are in memory once.
 *
 *     node --import tsx examples/several-adapters.ts "a text" reviews-adapter names-adapter
 */
import { Predictor } from "lowrank";

const [text = "", ...directories] = process.argv.slice(2);

const predictors = new Map<string, Predictor<unknown>>();
for (const directory of directories) {
  const [shareWith] = predictors.values();
  predictors.set(directory, await Predictor.load(directory, { shareWith }));
}
for (const [directory, predictor] of predictors) {
  const [prediction] = await predictor.predict([text]);
  console.log(`${directory} (${predictor.task.name}):`, prediction);
}
for (const predictor of predictors.values()) await predictor.close();

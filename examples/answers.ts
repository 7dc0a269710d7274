/**
 * @file Question answering in a few lines: train on a file of questions with their answers (SQuAD's form, or rows with
 * question, context and answers), and ask about a text.
 *
 *     node --import tsx examples/answers.ts path/to/model train.json answers-adapter "Who wrote it?" page.txt
 */
import { readFileSync } from "node:fs";
import { Trainer, type AnswerPrediction } from "lowrank";

const [model = "", data = "", output = "", question = "", file = ""] = process.argv.slice(2);

const trainer = await Trainer.create({
  task: "question-answering",
  model,
  data,
  output,
  epochs: 3,
  learningRate: 1e-3,
});
trainer.on((event) => {
  if (event.type === "step") console.error(`step ${event.step}: loss ${event.loss.toFixed(4)}`);
  if (event.type === "warning") console.error(event.message);
});
const { metrics } = await trainer.train();
console.log(metrics?.scalars);

const context = readFileSync(file, "utf8");
const [prediction] = await trainer.predict<AnswerPrediction>([{ question, context }]);
const { answer, start, end, score, noAnswer } = prediction!;
if (noAnswer) console.log("The text does not say.");
else console.log(`${answer} (characters ${start} to ${end}, probability ${score.toFixed(3)})`);
await trainer.close();

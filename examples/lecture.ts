/**
 * @file The lecture's session, as a program of the library's parts: GPT-2 with 124M parameters as a spam
 * classifier, frozen, with LoRA in every linear layer; and, when the weights are there, its training.
 *
 *     npm run lecture                                     the counts and the module tree
 *     npm run lecture -- --model GPT2_DIR --data DATA_DIR [--epochs 5] [--seed 123]
 *
 * GPT2_DIR holds model.safetensors and tokenizer.json of GPT-2; DATA_DIR holds train.csv, validation.csv and
 * test.csv with the columns Label (0 or 1) and Text. After chapter 6 and appendix E of "Build a Large
 * Language Model (From Scratch)" (S. Raschka).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { compile, Engine, type Program } from "lowrank";
import { planBatches, readTable } from "lowrank/data";
import { countParameters, freeze, replaceLinearWithLora } from "lowrank/lora";
import { GPT_CONFIG_124M, GPTModel, loadGpt2Weights, type GPTConfig } from "lowrank/models";
import { bindParameters } from "lowrank/nn";
import { crossEntropySum, input, reshape, slice, type Tensor } from "lowrank/ops";
import { loadTokenizer, type Tokenizer } from "lowrank/text";
import { Stepper } from "lowrank/train";

const RANK = 16;
const ALPHA = 16;
const CLASSES = 2;
/** The longest of the lecture's messages; shorter ones are padded, longer ones cut. */
const LENGTH = 120;
/** GPT-2 has no padding token; the lecture takes <|endoftext|>. */
const PADDING = "<|endoftext|>";
const BATCH = 8;
const LEARNING_RATE = 8e-4;
const ADAMW = { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.1 } as const;

interface Message {
  readonly ids: Int32Array;
  readonly label: number;
}

const { values: options } = parseArgs({
  options: {
    model: { type: "string" },
    data: { type: "string", default: "../shared/data/sms-spam" },
    epochs: { type: "string", default: "5" },
    seed: { type: "string", default: "123" },
  },
});

const config = options.model === undefined ? GPT_CONFIG_124M : gptConfig(options.model);
const model = new GPTModel({ ...config, numClasses: CLASSES });
if (options.model !== undefined) await loadGpt2Weights(model, options.model);

console.log(`Total trainable parameters before: ${count(model)}`);
freeze(model);
console.log(`Total trainable parameters after: ${count(model)}`);
replaceLinearWithLora(model, { rank: RANK, alpha: ALPHA });
console.log(`Total trainable LoRA parameters: ${count(model)}`);
console.log(String(model));

if (options.model !== undefined) await train(options.model, options.data);

function count(module: GPTModel): string {
  return countParameters(module, { trainable: true }).toLocaleString("en-US");
}

/** The sizes of a GPT-2 directory, under the lecture's names. */
function gptConfig(directory: string): GPTConfig {
  const stored = JSON.parse(readFileSync(join(directory, "config.json"), "utf8"));
  return {
    ...GPT_CONFIG_124M,
    vocabSize: stored.vocab_size,
    contextLength: stored.n_positions,
    embDim: stored.n_embd,
    nHeads: stored.n_head,
    nLayers: stored.n_layer,
  };
}

async function train(modelDirectory: string, dataDirectory: string): Promise<void> {
  const seed = Number(options.seed);
  const tokenizer = await loadTokenizer(modelDirectory);
  const read = (split: string): Promise<Message[]> =>
    readMessages(tokenizer, join(dataDirectory, `${split}.csv`));
  const splits = {
    train: await read("train"),
    validation: await read("validation"),
    test: await read("test"),
  };

  const engine = await Engine.start();
  const stepper = await Stepper.create(engine, model, { ...ADAMW, seed });
  const classifier = await compileClassifier(engine);
  const report = async (when: string): Promise<void> => {
    for (const [name, messages] of Object.entries(splits)) {
      const share = await accuracy(engine, classifier, messages);
      console.log(`${when} training, ${name} accuracy: ${(100 * share).toFixed(2)}%`);
    }
  };

  await report("before");
  const started = performance.now();
  for (let epoch = 0; epoch < Number(options.epochs); epoch++) {
    let lossSum = 0;
    let steps = 0;
    for (const messages of epochBatches(splits.train, seed, epoch)) {
      const { loss } = await stepper.step(
        [{ key: "lecture", lossSum: lastPositionLoss, feeds: feed(messages), labels: BATCH }],
        LEARNING_RATE,
      );
      lossSum += loss;
      steps++;
    }
    console.log(`epoch ${epoch + 1}: training loss ${(lossSum / steps).toFixed(4)}`);
  }
  console.log(`trained in ${((performance.now() - started) / 60_000).toFixed(2)} minutes`);
  await report("after");
  await engine.close();
}

/** The messages of a file as token ids [LENGTH]. */
async function readMessages(tokenizer: Tokenizer, file: string): Promise<Message[]> {
  const { rows } = await readTable(file);
  const padding = tokenizer.tokenId(PADDING)!;
  const texts = rows.map(({ values }) => String(values["Text"]));
  const { ids } = tokenizer.encodeBatch(texts, { maxLength: LENGTH });
  return rows.map(({ values }, i) => {
    const padded = new Int32Array(LENGTH).fill(padding);
    padded.set(ids[i]!);
    return { ids: padded, label: Number(values["Label"]) };
  });
}

/** Full batches of an epoch in random order; what is left over waits for another epoch. */
function* epochBatches(messages: readonly Message[], seed: number, epoch: number) {
  const lengths = messages.map(() => LENGTH);
  for (const { indices } of planBatches(lengths, {
    batchSize: BATCH,
    shuffle: true,
    seed,
    epoch,
  })) {
    if (indices.length === BATCH) yield indices.map((index) => messages[index]!);
  }
}

function feed(messages: readonly Message[]) {
  const ids = new Int32Array(BATCH * LENGTH);
  for (const [row, message] of messages.entries()) ids.set(message.ids, row * LENGTH);
  const labels = new Int32Array(BATCH);
  labels.set(messages.map(({ label }) => label));
  return {
    input_ids: { dtype: "int32", shape: [BATCH, LENGTH], data: ids },
    labels: { dtype: "int32", shape: [BATCH], data: labels },
  } as const;
}

/** Logits of the last position, the only one that has seen the whole message: [B, classes]. */
function lastPositionLogits(): Tensor {
  const logits = model.forward(input("input_ids", "int32", [BATCH, LENGTH])); // [B, T, classes]
  return reshape(slice(logits, 1, LENGTH - 1, LENGTH), [BATCH, CLASSES]);
}

function lastPositionLoss(): Tensor {
  return crossEntropySum(lastPositionLogits(), input("labels", "int32", [BATCH]));
}

function compileClassifier(engine: Engine): Promise<Program> {
  return compile(engine, bindParameters({ outputs: { logits: lastPositionLogits() } }, model));
}

/** Share of messages whose larger logit is that of their label. */
async function accuracy(
  engine: Engine,
  classifier: Program,
  messages: readonly Message[],
): Promise<number> {
  let correct = 0;
  for (let start = 0; start < messages.length; start += BATCH) {
    const batch = messages.slice(start, start + BATCH);
    const { outputs } = await engine.run(classifier, { feeds: feed(batch), fetch: ["logits"] });
    const logits = outputs["logits"]!.data as Float32Array;
    for (const [row, { label }] of batch.entries()) {
      const predicted = logits[2 * row + 1]! > logits[2 * row]! ? 1 : 0;
      if (predicted === label) correct++;
    }
  }
  return correct / messages.length;
}

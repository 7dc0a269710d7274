/** @file Writes tiny random models for tests: a BERT or GPT-2 directory with config, weights and a
 * tokenizer of a dozen words. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sizeOf } from "../src/graph/shape.ts";
import { writeSafetensors } from "../src/io/safetensors.ts";
import { modelFromConfig } from "../src/models/auto.ts";
import type { TaskType } from "../src/models/family.ts";
import { randomGenerator } from "../src/random.ts";

export const WORDS: readonly string[] =
  "good great fine nice happy bad awful poor sad ugly the a film was very so it is not and".split(
    " ",
  );

const BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];
const GPT2_TOKENS = ["<|endoftext|>", "[UNK]"];

export interface TinyModelOptions {
  readonly family: "bert" | "gpt2";
  /** The head whose weights are not stored; default "SEQ_CLS". */
  readonly task?: TaskType;
  /** Keys that replace those of config.json. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Changes the weights before they are written. */
  readonly change?: (name: string, values: Float32Array) => void;
}

/** Write a model into a new directory; returns the directory. Its dropout is 0. */
export async function writeTinyModel(
  directory: string,
  { family, task = "SEQ_CLS", config = {}, change = () => {} }: TinyModelOptions,
): Promise<string> {
  mkdirSync(directory, { recursive: true });
  const tokens = [...(family === "bert" ? BERT_TOKENS : GPT2_TOKENS), ...WORDS];
  const stored = { ...(family === "bert" ? bertConfig : gpt2Config)(tokens.length), ...config };
  write(directory, "config.json", stored);
  write(directory, "tokenizer.json", tokenizer(family, tokens));
  write(
    directory,
    "tokenizer_config.json",
    family === "bert" ? { pad_token: "[PAD]" } : { eos_token: "<|endoftext|>" },
  );
  const { model, family: modelFamily } = modelFromConfig(stored, task);
  const tensors = [];
  for (const [name, { shape }] of model.namedParameters()) {
    if (modelFamily.headModules.some((head) => name.startsWith(`${head}.`))) continue;
    const data = initialValues(name, shape);
    change(name, data);
    tensors.push({ name, dtype: "F32" as const, shape, data });
  }
  await writeSafetensors(join(directory, "model.safetensors"), tensors, { format: "pt" });
  return directory;
}

function write(directory: string, name: string, value: unknown): void {
  writeFileSync(join(directory, name), JSON.stringify(value));
}

function initialValues(name: string, shape: readonly number[]): Float32Array {
  const isNorm = /(LayerNorm|ln_\w+)\.weight$/.test(name);
  const random = randomGenerator(7, name);
  return Float32Array.from({ length: sizeOf(shape) }, () => 0.2 * random.normal() + +isNorm);
}

const bertConfig = (vocabSize: number) => ({
  model_type: "bert",
  vocab_size: vocabSize,
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 32,
  max_position_embeddings: 32,
  hidden_dropout_prob: 0,
  attention_probs_dropout_prob: 0,
});

const gpt2Config = (vocabSize: number) => ({
  model_type: "gpt2",
  vocab_size: vocabSize,
  n_positions: 32,
  n_embd: 16,
  n_layer: 2,
  n_head: 2,
  embd_pdrop: 0,
  attn_pdrop: 0,
  resid_pdrop: 0,
});

function tokenizer(family: TinyModelOptions["family"], tokens: readonly string[]) {
  const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
  const special = (family === "bert" ? BERT_TOKENS : GPT2_TOKENS).map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const around = [
    { SpecialToken: { id: "[CLS]", type_id: 0 } },
    { Sequence: { id: "A", type_id: 0 } },
    { SpecialToken: { id: "[SEP]", type_id: 0 } },
  ];
  const template = {
    type: "TemplateProcessing",
    single: around,
    pair: [
      ...around,
      { Sequence: { id: "B", type_id: 1 } },
      { SpecialToken: { id: "[SEP]", type_id: 1 } },
    ],
    special_tokens: Object.fromEntries(
      ["[CLS]", "[SEP]"].map((id) => [id, { id, ids: [vocab[id]], tokens: [id] }]),
    ),
  };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: special,
    normalizer: null,
    pre_tokenizer: { type: "Whitespace" },
    post_processor: family === "bert" ? template : null,
    decoder: null,
    // Every word of the tests is one token: whole words first, no pieces.
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab,
    },
  };
}

/** Rows of a task that a tiny model learns: the label tells which kind of word a text has. Texts of 2 to
 * 9 words, classes in turn. */
export function sentimentRows(count: number, seed = 1): { text: string; label: string }[] {
  const random = randomGenerator(seed, "rows");
  const pick = (words: readonly string[]): string => words[random.int(words.length)]!;
  return Array.from({ length: count }, (_, index) => {
    const isGood = index % 2 === 0;
    const filler = Array.from({ length: 1 + random.int(8) }, () => pick(WORDS.slice(10)));
    filler[random.int(filler.length)] = pick(isGood ? WORDS.slice(0, 5) : WORDS.slice(5, 10));
    return { text: filler.join(" "), label: isGood ? "good" : "bad" };
  });
}

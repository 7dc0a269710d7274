/** @file The lecture's program as a user runs it: its printed numbers and tree, and a training run of a tiny
 * random GPT-2 with the full vocabulary. */
import { execFile } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeSafetensors } from "../src/io/safetensors.ts";
import { modelFromConfig } from "../src/models/auto.ts";
import { parameterValues } from "../src/nn/bind.ts";

const ROOT = join(import.meta.dirname, "..");
const SHARED = join(ROOT, "../shared");
const TOKENIZER = join(SHARED, "models/tokenizers/gpt2/tokenizer.json");
const MESSAGES = join(SHARED, "data/sms-spam");
const hasShared = existsSync(TOKENIZER) && existsSync(MESSAGES);
const execute = promisify(execFile);

async function lecture(...args: string[]): Promise<string> {
  const program = join(ROOT, "node_modules/tsx/dist/cli.mjs");
  const { stdout } = await execute("node", [program, "examples/lecture.ts", ...args], {
    cwd: ROOT,
  });
  return stdout;
}

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "lowrank-lecture-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test("prints the lecture's numbers and PyTorch's tree", async () => {
  const [before, after, withLora, ...tree] = (await lecture()).trimEnd().split("\n");
  expect(before).toBe("Total trainable parameters before: 124,441,346");
  expect(after).toBe("Total trainable parameters after: 0");
  expect(withLora).toBe("Total trainable LoRA parameters: 2,666,528");
  // The whole tree, as torch 2.15 prints the same modules, with equal blocks left out.
  const block = tree.slice(5, 5 + BLOCK.length);
  expect(tree.slice(0, 5)).toEqual(HEAD);
  expect(block).toEqual(BLOCK);
  for (let i = 1; i < 12; i++) {
    const start = 5 + i * BLOCK.length;
    const own = [`    (${i}): TransformerBlock(`, ...BLOCK.slice(1)];
    expect(tree.slice(start, start + BLOCK.length)).toEqual(own);
  }
  expect(tree.slice(5 + 12 * BLOCK.length)).toEqual(TAIL);
});

test.skipIf(!hasShared)("trains a classifier from a GPT-2 directory", async () => {
  await writeTinyGpt2(directory);
  for (const [split, count] of [
    ["train", 64],
    ["validation", 12],
    ["test", 12],
  ] as const) {
    const lines = readFileSync(join(MESSAGES, `${split}.csv`), "utf8").split("\n");
    writeFileSync(join(directory, `${split}.csv`), `${lines.slice(0, count + 1).join("\n")}\n`);
  }
  const output = await lecture("--model", directory, "--data", directory, "--epochs", "3");
  const losses = [...output.matchAll(/training loss ([\d.]+)/g)].map((match) => Number(match[1]));
  expect(losses).toHaveLength(3);
  expect(losses[2]).toBeLessThan(losses[0]!);
  for (const when of ["before", "after"]) {
    for (const split of ["train", "validation", "test"]) {
      expect(output).toMatch(new RegExp(`${when} training, ${split} accuracy: \\d+\\.\\d\\d%`));
    }
  }
});

async function writeTinyGpt2(path: string): Promise<void> {
  const config = { model_type: "gpt2", n_positions: 128, n_embd: 64, n_layer: 2, n_head: 2 };
  const { model } = modelFromConfig({ ...config, vocab_size: 50257 }, "CAUSAL_LM");
  const tensors = [];
  for (const [name, parameter] of model.namedParameters()) {
    const data = await parameterValues(name, parameter, 1);
    tensors.push({ name, dtype: "F32" as const, shape: parameter.shape, data });
  }
  await writeSafetensors(join(path, "model.safetensors"), tensors, { format: "pt" });
  writeFileSync(join(path, "config.json"), JSON.stringify({ ...config, vocab_size: 50257 }));
  copyFileSync(TOKENIZER, join(path, "tokenizer.json"));
}

const HEAD = [
  "GPTModel(",
  "  (tok_emb): Embedding(50257, 768)",
  "  (pos_emb): Embedding(1024, 768)",
  "  (drop_emb): Dropout(p=0.0, inplace=False)",
  "  (trf_blocks): Sequential(",
];

const BLOCK = `\
    (0): TransformerBlock(
      (att): MultiHeadAttention(
        (W_query): LinearWithLoRA(
          (linear): Linear(in_features=768, out_features=768, bias=True)
          (lora): LoRALayer()
        )
        (W_key): LinearWithLoRA(
          (linear): Linear(in_features=768, out_features=768, bias=True)
          (lora): LoRALayer()
        )
        (W_value): LinearWithLoRA(
          (linear): Linear(in_features=768, out_features=768, bias=True)
          (lora): LoRALayer()
        )
        (out_proj): LinearWithLoRA(
          (linear): Linear(in_features=768, out_features=768, bias=True)
          (lora): LoRALayer()
        )
        (dropout): Dropout(p=0.0, inplace=False)
      )
      (ff): FeedForward(
        (layers): Sequential(
          (0): LinearWithLoRA(
            (linear): Linear(in_features=768, out_features=3072, bias=True)
            (lora): LoRALayer()
          )
          (1): GELU()
          (2): LinearWithLoRA(
            (linear): Linear(in_features=3072, out_features=768, bias=True)
            (lora): LoRALayer()
          )
        )
      )
      (norm1): LayerNorm()
      (norm2): LayerNorm()
      (drop_resid): Dropout(p=0.0, inplace=False)
    )`.split("\n");

const TAIL = [
  "  )",
  "  (final_norm): LayerNorm()",
  "  (out_head): LinearWithLoRA(",
  "    (linear): Linear(in_features=768, out_features=2, bias=True)",
  "    (lora): LoRALayer()",
  "  )",
  ")",
];

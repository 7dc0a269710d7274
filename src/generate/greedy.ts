/** @file Greedy decoding: the most likely token after each prompt, again and again. Every token is one run
 * of the whole sequence so far, whose last position alone is computed in the last layer (the dead-rows
 * pass); keys and values are not kept between runs. Letters: B prompts, T tokens so far. */
import { LowrankError } from "../errors.ts";
import type { PretrainedModel } from "../models/auto.ts";
import { modelInputs, type InputShape } from "../models/inputs.ts";
import { bindParameters } from "../nn/bind.ts";
import { dimension } from "../graph/shape.ts";
import { argmax } from "../ops/indexing.ts";
import { reshape, slice } from "../ops/movement.ts";
import { deadRows } from "../passes/dead-rows.ts";
import { compile } from "../runtime/compile.ts";
import type { Engine, Program } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";

export interface GenerateOptions {
  /** Token ids, at least one a prompt. All prompts are continued together. */
  readonly prompts: readonly Int32Array[];
  /** Tokens after each prompt, at most. */
  readonly maxNewTokens: number;
  /** Tokens that end a text; default none. */
  readonly eosTokenIds?: readonly number[];
  /** Called with each new token, and the prompt that it continues. */
  readonly onToken?: (token: number, prompt: number) => void;
}

/**
 * The new tokens after each prompt, the ending one included. The model is one for next-token prediction
 * whose parameters the engine has (`loadParameters`). Throws LowrankError("usage") that lists every prompt
 * that is empty, too long for the model with what shall follow it, or has a token that the model lacks.
 */
export async function generate(
  engine: Engine,
  { model, limits }: Pick<PretrainedModel, "model" | "limits">,
  { prompts, maxNewTokens, eosTokenIds = [], onToken = () => {} }: GenerateOptions,
): Promise<Int32Array[]> {
  checkPrompts(prompts, maxNewTokens, limits);
  const rows = prompts.map((prompt): Row => ({ tokens: [...prompt], isDone: false }));
  const programs = new Map<number, Program>();
  model.eval();
  try {
    for (let step = 0; step < maxNewTokens && rows.some(({ isDone }) => !isDone); step++) {
      const shape = { batch: rows.length, length: lengthOf(rows, engine.lengthMultiple) };
      const length = engine.graphLength(shape.length);
      let program = programs.get(length);
      if (!program) {
        program = await compileStep(engine, model, { ...shape, length });
        programs.set(length, program);
      }
      const feeds = collate(rows, shape, limits.padTokenId);
      const { outputs } = await engine.run(program, { feeds, fetch: ["next"] });
      for (const [index, row] of rows.entries()) {
        if (row.isDone) continue;
        const token = outputs["next"]!.data[index] as number;
        row.tokens.push(token);
        row.isDone = eosTokenIds.includes(token);
        onToken(token, index);
      }
    }
  } finally {
    for (const program of programs.values()) await engine.release(program);
  }
  return rows.map(({ tokens }, index) => Int32Array.from(tokens.slice(prompts[index]!.length)));
}

/** A prompt and what has been generated after it. */
interface Row {
  readonly tokens: number[];
  isDone: boolean;
}

/** The program of one token: int32 [B, T] → `next`, int32 [B]. */
function compileStep(
  engine: Engine,
  model: PretrainedModel["model"],
  shape: InputShape,
): Promise<Program> {
  const logits = model.forward(modelInputs(shape, { positions: true })); // [B, T, V]
  const last = reshape(slice(logits, 1, shape.length - 1, shape.length), [
    shape.batch,
    dimension(logits.shape, -1),
  ]);
  const graph = deadRows({ outputs: { next: argmax(last) } });
  return compile(engine, bindParameters(graph, model));
}

function lengthOf(rows: readonly Row[], multiple: number): number {
  const longest = Math.max(...rows.map(({ tokens }) => tokens.length));
  return Math.ceil(longest / multiple) * multiple;
}

/** Rows padded on the left, so that the last column holds every row's last token. */
function collate(
  rows: readonly Row[],
  { batch, length }: InputShape,
  padTokenId: number,
): Record<string, HostTensor> {
  const empty = (value: number) => new Int32Array(batch * length).fill(value);
  const [ids, mask, positions] = [empty(padTokenId), empty(0), empty(0)];
  for (const [row, { tokens }] of rows.entries()) {
    const start = (row + 1) * length - tokens.length;
    for (const [i, token] of tokens.entries()) {
      ids[start + i] = token;
      mask[start + i] = 1;
      positions[start + i] = i;
    }
  }
  const tensor = (data: Int32Array): HostTensor => ({
    dtype: "int32",
    shape: [batch, length],
    data,
  });
  return {
    input_ids: tensor(ids),
    attention_mask: tensor(mask),
    position_ids: tensor(positions),
  };
}

function checkPrompts(
  prompts: readonly Int32Array[],
  maxNewTokens: number,
  { maxLength, vocabSize }: PretrainedModel["limits"],
): void {
  const problems = prompts.flatMap((prompt, index) => {
    const unknown = prompt.find((token) => token < 0 || token >= vocabSize);
    const total = prompt.length + maxNewTokens;
    return [
      ...(prompt.length === 0 ? ["has no token"] : []),
      ...(unknown === undefined ? [] : [`has token ${unknown}, expected less than ${vocabSize}`]),
      ...(total > maxLength
        ? [`and its continuation have ${total} tokens, the model takes ${maxLength}`]
        : []),
    ].map((problem) => `  prompt ${index} ${problem}`);
  });
  if (prompts.length === 0) problems.push("  there is no prompt");
  if (problems.length === 0) return;
  throw new LowrankError(
    "usage",
    `generate: cannot continue these prompts:\n${problems.join("\n")}\nShorten them, or ask for fewer tokens.`,
  );
}

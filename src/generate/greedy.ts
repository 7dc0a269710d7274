/** @file Greedy decoding: the most likely token after each prompt, again and again. The prompts are computed in one run, which
 * leaves their keys and values in the engine; each further token is a run of its own that adds to them
 * (nn/key-value-cache.ts). Letters: B prompts, T tokens of the longest, S slots for all tokens but the last. */
import { LowrankError, requireOptions } from "../errors.ts";
import type { PretrainedModel } from "../models/auto.ts";
import type { Engine } from "../runtime/engine.ts";
import { GreedyDecoder } from "./greedy-decoder.ts";

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
  options: GenerateOptions,
): Promise<Int32Array[]> {
  requireOptions("generate", options, {
    prompts: true,
    maxNewTokens: true,
    eosTokenIds: true,
    onToken: true,
  });
  const { prompts, maxNewTokens, eosTokenIds = [], onToken = () => {} } = options;
  checkPrompts(prompts, maxNewTokens, limits);
  if (maxNewTokens < 1) return prompts.map(() => new Int32Array(0));
  const decoder = await GreedyDecoder.create(engine, model, { prompts, maxNewTokens });
  const rows = prompts.map((): Row => ({ tokens: [], isDone: false }));
  try {
    let next = await decoder.start(prompts, limits.padTokenId);
    for (let step = 1; ; step++) {
      for (const [index, row] of rows.entries()) {
        if (row.isDone) continue;
        const token = next[index]!;
        row.tokens.push(token);
        row.isDone = eosTokenIds.includes(token);
        onToken(token, index);
      }
      if (step >= maxNewTokens || rows.every(({ isDone }) => isDone)) break;
      next = await decoder.step(next);
    }
  } finally {
    await decoder.close();
  }
  return rows.map(({ tokens }) => Int32Array.from(tokens));
}

/** What has been generated after a prompt. */
interface Row {
  readonly tokens: number[];
  isDone: boolean;
}

function checkPrompts(
  prompts: readonly Int32Array[],
  maxNewTokens: number,
  { maxLength, vocabSize }: PretrainedModel["limits"],
): void {
  if (!Array.isArray(prompts) || !Number.isInteger(maxNewTokens)) {
    throw new LowrankError(
      "usage",
      "generate: expected prompts, a list with the token ids of each, and maxNewTokens, a whole number.",
    );
  }
  const problems = prompts.flatMap((prompt, index) => {
    const unknown = prompt.find((token: number) => token < 0 || token >= vocabSize);
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

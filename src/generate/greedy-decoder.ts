/** @file A language model on an engine, one token at a time: two programs, one for the prompts and one for a token after them, and
 * the keys and values of all tokens so far, which stay in the engine. Letters: B prompts, T tokens of the longest, S slots. */
import { randomUUID } from "node:crypto";
import { LowrankError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import type { Tensor } from "../graph/node.ts";
import { dimension, sizeOf } from "../graph/shape.ts";
import type { Model } from "../models/family.ts";
import { modelInputs } from "../models/inputs.ts";
import { bindParameters } from "../nn/bind.ts";
import { CACHE_SLOT, PromptCache, StepCache, type KeyValueCache } from "../nn/key-value-cache.ts";
import { argmax } from "../ops/indexing.ts";
import { reshape, slice } from "../ops/movement.ts";
import { deadRows } from "../passes/dead-rows.ts";
import { compile } from "../runtime/compile.ts";
import type { Engine, Program } from "../runtime/engine.ts";
import type { HostTensor } from "../runtime/protocol.ts";

export interface DecoderOptions {
  readonly prompts: readonly Int32Array[];
  /** Tokens after each prompt, at most. */
  readonly maxNewTokens: number;
}

/** The likeliest next token of each row. */
const NEXT = "next";

/** Outputs have other names than inputs. */
const after = (name: string): string => `next_${name}`;

export class GreedyDecoder {
  readonly #engine: Engine;
  readonly #prompt: Program;
  readonly #token: Program;
  /** Where each tensor of the cache is in the engine, by its name in the graphs. */
  readonly #stored: Readonly<Record<string, string>>;
  /** int32 [B, S]: 1 where a slot has a token. */
  readonly #mask: Int32Array;
  /** Tokens of each row so far. */
  readonly #lengths: number[];
  readonly #longest: number;
  readonly #slots: number;
  /** The slot of the next token. */
  #slot: number;

  private constructor(
    engine: Engine,
    programs: { readonly prompt: Program; readonly token: Program },
    stored: Readonly<Record<string, string>>,
    { prompts, longest, slots }: { prompts: readonly Int32Array[]; longest: number; slots: number },
  ) {
    this.#engine = engine;
    this.#prompt = programs.prompt;
    this.#token = programs.token;
    this.#stored = stored;
    this.#longest = longest;
    this.#slots = slots;
    this.#slot = longest;
    this.#lengths = prompts.map(({ length }) => length);
    this.#mask = new Int32Array(prompts.length * slots);
    for (const [row, length] of this.#lengths.entries())
      this.#mask.fill(1, row * slots + longest - length, row * slots + longest);
  }

  /** Compile the programs and make room for keys and values. Throws LowrankError("usage") for a model that keeps none. */
  static async create(
    engine: Engine,
    model: Model,
    { prompts, maxNewTokens }: DecoderOptions,
  ): Promise<GreedyDecoder> {
    model.eval();
    const batch = prompts.length;
    const longest = Math.max(...prompts.map(({ length }) => length));
    // The last token's keys and values are of no use to anybody.
    const slots = longest + Math.max(1, maxNewTokens - 1);
    const first = new PromptCache(slots);
    const promptGraph = nextToken(model, { batch, length: longest, keys: longest }, first);
    if (Object.keys(first.contents).length === 0) {
      throw new LowrankError(
        "usage",
        `generate: ${model.typeName()} does not hand its keys and values to \`cache\`, which a token after others needs. ` +
          "Use a decoder of this library, or call cache.extend in each of your attention layers.",
      );
    }
    const later = new StepCache(first);
    const tokenGraph = nextToken(model, { batch, length: 1, keys: slots }, later);
    const programs = {
      prompt: await compile(engine, bindParameters(promptGraph, model)),
      token: await compile(engine, bindParameters(tokenGraph, model)),
    };
    const prefix = randomUUID();
    const stored: Record<string, string> = {};
    for (const [name, { shape }] of Object.entries(first.contents)) {
      stored[name] = `${prefix}/${name}`;
      const data = new Float32Array(sizeOf(shape));
      await engine.put(stored[name], { dtype: "float32", shape, data });
    }
    return new GreedyDecoder(engine, programs, stored, { prompts, longest, slots });
  }

  /** The likeliest token after each prompt. */
  async start(prompts: readonly Int32Array[], padTokenId: number): Promise<Int32Array> {
    const [batch, length] = [prompts.length, this.#longest];
    const empty = (value: number): Int32Array => new Int32Array(batch * length).fill(value);
    const [ids, mask, positions] = [empty(padTokenId), empty(0), empty(0)];
    // Padded on the left, so that the last column holds every row's last token.
    for (const [row, tokens] of prompts.entries()) {
      const start = (row + 1) * length - tokens.length;
      ids.set(tokens, start);
      mask.fill(1, start, start + tokens.length);
      for (const i of tokens.keys()) positions[start + i] = i;
    }
    return this.#run(this.#prompt, {
      input_ids: int32([batch, length], ids),
      attention_mask: int32([batch, length], mask),
      position_ids: int32([batch, length], positions),
    });
  }

  /** The likeliest token after one more in each row. */
  async step(tokens: Int32Array): Promise<Int32Array> {
    const batch = tokens.length;
    const slot = this.#slot++;
    for (let row = 0; row < batch; row++) this.#mask[row * this.#slots + slot] = 1;
    const positions = Int32Array.from(this.#lengths);
    for (const row of this.#lengths.keys()) this.#lengths[row]!++;
    return this.#run(this.#token, {
      input_ids: int32([batch, 1], tokens),
      attention_mask: int32([batch, this.#slots], this.#mask.slice()),
      position_ids: int32([batch, 1], positions),
      [CACHE_SLOT]: int32([1], Int32Array.of(slot)),
    });
  }

  /** Release programs and memory. */
  async close(): Promise<void> {
    await this.#engine.release(this.#prompt);
    await this.#engine.release(this.#token);
    await this.#engine.remove(Object.values(this.#stored));
  }

  async #run(program: Program, feeds: Record<string, HostTensor>): Promise<Int32Array> {
    const reads = this.#stored;
    // In place: a token's program changes one slot of what it reads.
    const writes = Object.fromEntries(
      Object.entries(reads).map(([name, stored]) => [after(name), stored]),
    );
    const { outputs } = await this.#engine.run(program, { feeds, reads, writes, fetch: [NEXT] });
    return outputs[NEXT]!.data as Int32Array;
  }
}

const int32 = (shape: readonly number[], data: Int32Array): HostTensor => ({
  dtype: "int32",
  shape,
  data,
});

/** The graph of the likeliest token after those at hand, int32 [B], and what the cache then holds. */
function nextToken(
  model: Model,
  { batch, length, keys }: { batch: number; length: number; keys: number },
  cache: KeyValueCache & { readonly contents: Readonly<Record<string, Tensor>> },
): Graph {
  const inputs = modelInputs({ batch, length }, { positions: true, keys });
  const logits = model.forward({ ...inputs, cache }); // [B, T, V]
  if (logits.shape.length !== 3) {
    throw new LowrankError(
      "usage",
      `generate: ${model.typeName()} does not predict a next token. Load the model with task "CAUSAL_LM".`,
    );
  }
  const last = reshape(slice(logits, 1, length - 1, length), [batch, dimension(logits.shape, -1)]);
  const contents = Object.entries(cache.contents).map(([name, tensor]) => [after(name), tensor]);
  return deadRows({ outputs: { [NEXT]: argmax(last), ...Object.fromEntries(contents) } });
}

/** @file The checks of greedy decoding: single prompts, a batch of them, and texts that end. */
import { generate } from "../../src/generate/greedy.ts";
import type { PretrainedModel } from "../../src/models/auto.ts";
import type { Engine } from "../../src/runtime/engine.ts";
import { compareTensor, feed, type Deviation, type Fixture } from "./fixture.ts";

/** One part of a fixture's `generation`, "base" or "adapter/NAME", by a model with its parameters loaded. */
export async function* checkGeneration(
  fixture: Fixture,
  base: PretrainedModel,
  engine: Engine,
  part: string,
): AsyncGenerator<{ name: string; deviation: Deviation }> {
  const { golden, name } = fixture;
  const { [part]: expected, new_tokens: maxNewTokens } = golden.generation;
  const prompts = [];
  for (const key of golden.generation.prompts)
    prompts.push((await feed(fixture, key)).data as Int32Array);
  const continued = (
    chosen: readonly Int32Array[],
    eosTokenIds: readonly number[] = [],
  ): Promise<Int32Array[]> =>
    generate(engine, base, { prompts: chosen, maxNewTokens, eosTokenIds });

  for (const [index, key] of expected.single.entries()) {
    const [tokens] = await continued([prompts[index]!]);
    const deviation = await compareTensor(fixture, key, tokens!);
    yield { name: `${name} generation ${part} prompt ${index}`, deviation };
  }
  const together = await continued(prompts);
  yield {
    name: `${name} generation ${part} batch`,
    deviation: await compareTensor(fixture, expected.batch, concatenated(together)),
  };
  const { eos_token_id: eos, pad_token_id: pad, batch: key } = expected.with_eos;
  const { shape } = await feed(fixture, key);
  // A text that has ended is shorter than the others; the golden row goes on with padding.
  const ended = (await continued(prompts, [eos])).map((tokens) => {
    const row = new Int32Array(shape[1]!).fill(pad);
    row.set(tokens);
    return row;
  });
  yield {
    name: `${name} generation ${part} with end`,
    deviation: await compareTensor(fixture, key, concatenated(ended)),
  };
}

function concatenated(rows: readonly Int32Array[]): Int32Array {
  return Int32Array.from(rows.flatMap((row) => [...row]));
}

/**
 * @file A language model with an adapter, continuing prompts: the most likely token, again and again.
 *
 *     node --import tsx examples/generate.ts style-adapter path/to/model 40 "name : Cotto | food : Chinese"
 */
import { AutoModel, Engine, generate } from "lowrank";
import { AdapterSet } from "lowrank/lora";
import { loadParameters } from "lowrank/nn";
import { loadTokenizer } from "lowrank/text";

const [adapter = "", path = "", maxNewTokens = "", ...texts] = process.argv.slice(2);

const base = await AutoModel.fromPretrained(path, { task: "CAUSAL_LM" });
await new AdapterSet(base).load("style", adapter);
const tokenizer = await loadTokenizer(path);

const engine = await Engine.start();
await loadParameters(engine, base.model, { seed: 0 });
const prompts = texts.map((text) => Int32Array.from(tokenizer.encode(text).ids));
const continuations = await generate(engine, base, {
  prompts,
  maxNewTokens: Number(maxNewTokens),
  eosTokenIds: [tokenizer.eosTokenId ?? -1],
});
for (const [i, tokens] of continuations.entries()) {
  console.log(tokenizer.decode([...prompts[i]!, ...tokens], { skipSpecialTokens: true }));
}
await engine.close();

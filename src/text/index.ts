/** @file "lowrank/text": tokenizers. */

export { loadTokenizer, type Tokenizer } from "./tokenizer.ts";
export type { TokenSpans } from "./offsets.ts";
export type { Wrapped } from "./template.ts";

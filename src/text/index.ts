/** @file "lowrank/text": tokenizers. */

export { loadTokenizer, type Tokenizer } from "./tokenizer.ts";

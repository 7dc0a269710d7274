/** @file The graph inputs of a model, under transformers' names. */
import { input } from "../graph/leaves.ts";
import type { ModelInputs } from "./family.ts";

export interface InputShape {
  readonly batch: number;
  readonly length: number;
}

export interface InputOptions {
  /** Feed token_type_ids too (text pairs). */
  readonly tokenTypes?: boolean;
  /** Feed position_ids too (left padding). */
  readonly positions?: boolean;
  /** Tokens that the attention mask is of, where there are others than those at hand. Default T. */
  readonly keys?: number;
}

/** int32 [B, T] inputs "input_ids", "attention_mask" and, on request, "token_type_ids" and
 * "position_ids". */
export function modelInputs(
  { batch, length }: InputShape,
  options: InputOptions = {},
): ModelInputs {
  const ids = (name: string, tokens = length) => input(name, "int32", [batch, tokens]);
  return {
    inputIds: ids("input_ids"),
    attentionMask: ids("attention_mask", options.keys),
    ...(options.tokenTypes ? { tokenTypeIds: ids("token_type_ids") } : {}),
    ...(options.positions ? { positionIds: ids("position_ids") } : {}),
  };
}

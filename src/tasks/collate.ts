/** @file A batch of token sequences as the inputs of a graph. */
import type { InputShape } from "../models/inputs.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import type { Example, Feeds } from "./task.ts";

/** input_ids, attention_mask and token_type_ids, int32 [B, T], padded on the right. Rows beyond the examples
 * hold one token to attend to: no row may be without. */
export function collateTokens(
  examples: readonly Example[],
  shape: InputShape,
  padTokenId: number,
): Feeds {
  const { batch, length } = shape;
  const mask = int32(shape, 0);
  for (let row = 0; row < batch; row++) {
    const tokens = examples[row]?.inputIds.length ?? 1;
    mask.data.fill(1, row * length, row * length + tokens);
  }
  return {
    input_ids: tokenRows(examples, shape, padTokenId, ({ inputIds }) => inputIds),
    attention_mask: mask,
    token_type_ids: tokenRows(examples, shape, 0, ({ tokenTypeIds }) => tokenTypeIds),
  };
}

/** One value a token: int32 [B, T]; `fill` after the end, in rows beyond the examples, and where an
 * example has no values. */
export function tokenRows<E extends Example>(
  examples: readonly E[],
  shape: InputShape,
  fill: number,
  values: (example: E) => Int32Array | undefined,
): HostTensor {
  const tensor = int32(shape, fill);
  for (const [row, example] of examples.entries()) {
    tensor.data.set(values(example) ?? [], row * shape.length);
  }
  return tensor;
}

/** One value an example: int32 [B]; `fill` in rows beyond them. */
export function rowValues(values: readonly number[], batch: number, fill: number): HostTensor {
  const data = new Int32Array(batch).fill(fill);
  data.set(values);
  return { dtype: "int32", shape: [batch], data };
}

function int32({ batch, length }: InputShape, fill: number) {
  const data = new Int32Array(batch * length).fill(fill);
  return { dtype: "int32", shape: [batch, length], data } as const;
}

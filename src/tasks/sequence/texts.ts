/** @file The texts of sequence classification: single ones, or pairs such as premise and hypothesis. */
import { findColumn, findOptionalColumn, textValues } from "../../data/columns.ts";
import type { Table } from "../../data/table.ts";
import type { Columns } from "../options.ts";
import { encodePair } from "../encoder.ts";
import { fieldTexts } from "../inputs.ts";
import { knownColumns } from "../state.ts";
import type { Encoder, Example, Examples, Input } from "../task.ts";
import type { State } from "./problem.ts";

/** Fields of an input. */
export const TEXT = "text";
export const TEXT_PAIR = "textPair";

/** Columns with the texts; with `textPairColumn` they are pairs. */
export interface TextColumns {
  readonly textColumn: string;
  readonly textPairColumn?: string;
}

/** The columns of training data. Without the user's word, a second text is looked for by its usual names;
 * someone who names the text's column alone means that one alone. */
export function findTextColumns(
  table: Table,
  { textColumn, textPairColumn }: Columns,
): TextColumns {
  const text = findColumn(table, TEXT, textColumn);
  const pair =
    textColumn !== undefined && textPairColumn === undefined
      ? undefined
      : findOptionalColumn(table, TEXT_PAIR, textPairColumn);
  return {
    textColumn: text,
    ...(pair === undefined || pair === text ? {} : { textPairColumn: pair }),
  };
}

/** The texts of another table, by the columns of training where it has them. */
export function readTexts(table: Table, state: State, columns?: Columns): Input[] {
  const known = knownColumns(table, state, columns);
  const read = (role: typeof TEXT | typeof TEXT_PAIR): string[] =>
    textValues(table, findColumn(table, role, known[`${role}Column`]));
  const texts = read(TEXT);
  if (state.textPairColumn === undefined) return texts.map((text) => ({ text }));
  const pairs = read(TEXT_PAIR);
  return texts.map((text, row) => ({ text, textPair: pairs[row] }));
}

/** T: what its problem learns, e.g. a label's id. */
export interface SequenceExample<T = any> extends Example {
  readonly target: T;
}

/** Token ids of each input's texts, with segments for pairs, and its target. */
export function encodeInputs<T>(
  inputs: readonly Input[],
  targets: readonly T[],
  encoder: Encoder,
  isPair: boolean,
): Examples<SequenceExample<T>> {
  const texts = fieldTexts(inputs, TEXT);
  if (!isPair) {
    const { ids, truncated } = encoder.encode(texts);
    const examples = ids.map((inputIds, i) => ({ inputIds, target: targets[i]! }));
    return { examples, truncated };
  }
  const others = fieldTexts(inputs, TEXT_PAIR);
  const pairs = texts.map((text, i) => encodePair(encoder, text, others[i]!));
  const examples = pairs.map(({ ids, typeIds }, i) => ({
    inputIds: ids,
    tokenTypeIds: typeIds,
    target: targets[i]!,
  }));
  return { examples, truncated: pairs.filter(({ isCut }) => isCut).length };
}

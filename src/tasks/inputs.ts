/** @file Inputs for predictions: checking that they have the fields that a task needs. */
import { LowrankError } from "../errors.ts";
import { show } from "../data/table.ts";
import type { Input } from "./task.ts";

/** Bare texts as inputs of the first field. Throws LowrankError("usage") for anything but a list, which JavaScript may pass. */
export function asInputs(inputs: readonly (string | Input)[], fields: readonly string[]): Input[] {
  if (!Array.isArray(inputs)) {
    throw new LowrankError(
      "usage",
      `inputs: expected a list, got ${show(inputs)}. Pass [text], or several at once.`,
    );
  }
  return inputs.map((input: string | Input) =>
    typeof input === "string" ? { [fields[0]!]: input } : input,
  );
}

/** The texts of a field. Throws LowrankError("data") that names the inputs without one. */
export function fieldTexts(inputs: readonly Input[], field: string): string[] {
  return inputs.map((input, index) => {
    const text = (input as Input | null | undefined)?.[field];
    if (typeof text === "string") return text;
    throw new LowrankError(
      "data",
      `input ${index + 1}: ${field}: expected a text, got ${show(text)}. Pass an object with its fields.`,
    );
  });
}

/** @file What training made is stored only where all of it are numbers. */
import { LowrankError } from "../errors.ts";
import { findNonFinite } from "./float16.ts";

/** The values, if all are finite. Throws LowrankError("training"). */
export function requireFiniteResult(name: string, values: Float32Array): Float32Array {
  const index = findNonFinite(values);
  if (index === -1) return values;
  throw new LowrankError(
    "training",
    `${name}: expected finite numbers to save, got ${values[index]} at element ${index}. ` +
      "Train again with a lower learning rate.",
  );
}

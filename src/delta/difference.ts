/**
 * @file The change of a tensor, ΔW = W' - W, such that W + ΔW gives W' back bit for bit.
 *
 * In float32 the difference is exact, and so is the sum, wherever W and W' are within a factor of two of each other
 * (Sterbenz' lemma); elsewhere the sum may miss W' by a rounding. Such elements are few (a weight that nearly vanished)
 * and are stored as they are, beside ΔW.
 */
import {
  float32ToBF16,
  float32ToF16,
  widenBF16,
  widenF16,
  type FloatDtype,
} from "../io/float16.ts";

/** How ΔW is stored. F16 and BF16 take half the space and are exact no longer. */
export type DeltaDtype = FloatDtype;

/** ΔW, and elements that W + ΔW does not give. */
export interface Difference {
  /** ΔW as float32, rounded to the dtype. */
  readonly delta: Float32Array;
  /** Places of elements that are given by `exactValue` instead; F32 only. */
  readonly exactIndex: Int32Array;
  readonly exactValue: Float32Array;
}

/** ΔW = W' - W. base, changed: [n] → delta [n]. */
export function difference(
  base: Float32Array,
  changed: Float32Array,
  dtype: DeltaDtype,
): Difference {
  const delta = rounded(
    changed.map((value, i) => value - base[i]!),
    dtype,
  );
  const places: number[] = [];
  if (dtype === "F32") {
    for (let i = 0; i < delta.length; i++) {
      if (!Object.is(Math.fround(base[i]! + delta[i]!), changed[i])) places.push(i);
    }
  }
  const exactIndex = Int32Array.from(places);
  return { delta, exactIndex, exactValue: Float32Array.from(places, (i) => changed[i]!) };
}

/** W' = W + ΔW. Changes nothing; [n]. */
export function applyDifference(base: Float32Array, change: Difference): Float32Array {
  const changed = base.map((value, i) => value + change.delta[i]!);
  for (const [i, place] of change.exactIndex.entries()) changed[place] = change.exactValue[i]!;
  return changed;
}

function rounded(values: Float32Array, dtype: DeltaDtype): Float32Array {
  if (dtype === "F32") return values;
  const target = new Float32Array(values.length);
  const bits = new Uint32Array(target.buffer);
  if (dtype === "F16") widenF16(float32ToF16(values), bits);
  else widenBF16(float32ToBF16(values), bits);
  return target;
}

/**
 * @file One dimension that is known only when a graph runs: the length T of the sequences in a batch.
 *
 * Shapes stay plain numbers. T is written as a prime far above any real dimension, so that arithmetic on
 * shapes (8 sequences of T tokens are 8·T rows; all but the first token are T - 1) works unchanged, and
 * k·T + c can be read off the result. Lowering turns such numbers into values computed from an input's
 * shape; everything else only compares them.
 */
import { LowrankError } from "../errors.ts";

/** Stands for T. A prime above 2³¹: a static dimension never comes near half of it, and 2·10⁶ of them
 * times a model's widths are still exact. */
export const DYNAMIC_LENGTH = 2_147_483_659;

/** T is a sequence's length; this is what estimates of size and cost take for it. */
const TYPICAL_LENGTH = 128;
/** Larger offsets come from something else than slices and paddings of a sequence. */
const MAX_OFFSET = 2 ** 24;

/** `factor·T + offset` */
export interface DynamicDimension {
  readonly factor: number;
  readonly offset: number;
}

/** A dimension (or bound of a slice) as k·T + c; undefined when it does not depend on T. */
export function dynamicDimension(dimension: number): DynamicDimension | undefined {
  const factor = Math.round(dimension / DYNAMIC_LENGTH);
  if (factor === 0) return undefined;
  const offset = dimension - factor * DYNAMIC_LENGTH;
  if (!Number.isSafeInteger(dimension) || Math.abs(offset) > MAX_OFFSET) {
    throw new LowrankError(
      "graph",
      `a dimension of ${dimension} elements is not a multiple of the dynamic length. ` +
        "Build this graph for one static length instead.",
    );
  }
  return { factor, offset };
}

export function isDynamic(dimension: number): boolean {
  return dimension >= DYNAMIC_LENGTH / 2;
}

/** The value of a dimension for a length. */
export function resolveDimension(dimension: number, length = TYPICAL_LENGTH): number {
  const dynamic = dynamicDimension(dimension);
  return dynamic ? dynamic.factor * length + dynamic.offset : dimension;
}

/** "T", "8T", "T-1", or the number. */
export function formatDimension(dimension: number): string {
  if (!isDynamic(dimension)) return String(dimension);
  const { factor, offset } = dynamicDimension(dimension)!;
  const sign = offset > 0 ? "+" : "";
  return `${factor === 1 ? "" : factor}T${offset === 0 ? "" : sign + offset}`;
}

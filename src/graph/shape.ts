/** @file Shapes: element counts, broadcasting, axis arithmetic. Every dimension is a number; the one
 * that is known only at run time is written as a number too (dynamic.ts). */
import { LowrankError } from "../errors.ts";
import { formatDimension } from "./dynamic.ts";

/** Sizes of a tensor's dimensions, the outermost first; [] is that of a scalar. */
export type Shape = readonly number[];

/** Number of elements of a tensor of this shape; 1 for a scalar. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** Throws LowrankError("graph") for what is no shape: sizes that come from JavaScript may be missing or fractions. */
export function requireShape(where: string, shape: Shape): void {
  if (Array.isArray(shape) && shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) return;
  throw new LowrankError(
    "graph",
    `${where}: expected a shape of whole numbers, got ${JSON.stringify(shape)}.`,
  );
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

/** `[8, 120, 768]` */
export function formatShape(shape: Shape): string {
  return `[${shape.map(formatDimension).join(", ")}]`;
}

/** The common shape of two shapes by NumPy's broadcasting rule. */
export function broadcastShapes(where: string, a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const x = a[axis - rank + a.length] ?? 1;
    const y = b[axis - rank + b.length] ?? 1;
    if (x !== y && x !== 1 && y !== 1) {
      throw new LowrankError(
        "graph",
        `${where}: shapes must broadcast, got ${formatShape(a)} and ${formatShape(b)}. ` +
          `Aligned at the right, each pair of dimensions must be equal or one of them 1.`,
      );
    }
    return x === 1 ? y : x;
  });
}

/** `axis` counted from the front: -1 is the last of `rank` axes. */
export function normalizeAxis(where: string, axis: number, rank: number): number {
  const normalized = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || normalized < 0 || normalized >= rank) {
    throw new LowrankError("graph", `${where}: axis ${axis} is out of range for rank ${rank}.`);
  }
  return normalized;
}

/** The dimension at `axis` (negative counts from the end). */
export function dimension(shape: Shape, axis: number): number {
  const dim = shape.at(axis);
  if (dim === undefined) {
    throw new LowrankError("graph", `shape ${formatShape(shape)} has no axis ${axis}.`);
  }
  return dim;
}

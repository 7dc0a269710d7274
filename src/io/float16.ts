/**
 * @file Conversion between float32 and the two 16-bit formats that checkpoints store, as bit patterns: F16 (IEEE binary16)
 * and BF16 (the upper half of a float32). Widening is exact; narrowing rounds to nearest, ties to even. Used by safetensors.ts.
 */

const EMPTY = new Uint32Array(0);

let halfToFloatTable: Uint32Array | undefined;

/** float32 bits of every F16 bit pattern: 65,536 entries, 256 KiB, built on first use in about a millisecond. */
function halfToFloat(): Uint32Array {
  if (halfToFloatTable) return halfToFloatTable;
  const table = new Uint32Array(65_536);
  const value = new Float32Array(1);
  const bits = new Uint32Array(value.buffer);
  for (let half = 0; half < 0x8000; half++) {
    const exponent = half >>> 10;
    const mantissa = half & 0x3ff;
    if (exponent === 0) {
      value[0] = mantissa * 2 ** -24; // subnormal, or zero
      table[half] = bits[0]!;
    } else {
      const exponent32 = exponent === 31 ? 255 : exponent + 112; // 31: infinity and NaN
      table[half] = (exponent32 << 23) | (mantissa << 13);
    }
    table[half | 0x8000] = table[half]! | 0x8000_0000;
  }
  halfToFloatTable = table;
  return table;
}

/** Writes the float32 bits of F16 bit patterns. source: [n], target: [n]. Exact, NaN payloads included.
 * Two elements per load where the alignment allows: a third faster than one by one. */
export function widenF16(source: Uint16Array, target: Uint32Array): void {
  const table = halfToFloat();
  const pairs = source.byteOffset % 4 === 0 ? source.length >>> 1 : 0;
  const words = pairs > 0 ? new Uint32Array(source.buffer, source.byteOffset, pairs) : EMPTY;
  for (let i = 0; i < pairs; i++) {
    const word = words[i]!;
    target[2 * i] = table[word & 0xffff]!;
    target[2 * i + 1] = table[word >>> 16]!;
  }
  for (let i = 2 * pairs; i < source.length; i++) target[i] = table[source[i]!]!;
}

/** Writes the float32 bits of BF16 bit patterns. source: [n], target: [n]. Exact. */
export function widenBF16(source: Uint16Array, target: Uint32Array): void {
  const pairs = source.byteOffset % 4 === 0 ? source.length >>> 1 : 0;
  const words = pairs > 0 ? new Uint32Array(source.buffer, source.byteOffset, pairs) : EMPTY;
  for (let i = 0; i < pairs; i++) {
    const word = words[i]!;
    target[2 * i] = word << 16;
    target[2 * i + 1] = word & 0xffff_0000;
  }
  for (let i = 2 * pairs; i < source.length; i++) target[i] = source[i]! << 16;
}

/** F16 bit patterns of float32 values: nearest, ties to even; beyond 65,504 (+ half a step) infinity; NaN stays NaN. */
export function float32ToF16(values: Float32Array): Uint16Array {
  const source = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const target = new Uint16Array(values.length);
  for (let i = 0; i < source.length; i++) {
    const bits = source[i]!;
    const magnitude = bits & 0x7fff_ffff;
    target[i] = ((bits >>> 16) & 0x8000) | halfOfMagnitude(magnitude);
  }
  return target;
}

/** The 15 lower bits of an F16 from the 31 lower bits of a float32. */
function halfOfMagnitude(magnitude: number): number {
  if (magnitude > 0x7f80_0000) return 0x7c00 | ((magnitude >>> 13) & 0x3ff || 0x200); // NaN, payload kept
  if (magnitude >= 0x4780_0000) return 0x7c00; // 65,536 and more
  if (magnitude >= 0x3880_0000) {
    // Normal: 2^-14 and more. A carry out of the mantissa correctly raises the exponent, up to infinity.
    const rebased = magnitude - 0x3800_0000;
    return (rebased + 0x0fff + ((rebased >>> 13) & 1)) >>> 13;
  }
  const shift = 126 - (magnitude >>> 23); // the mantissa counts units of 2^-24 after this shift
  if (shift > 24) return 0; // below half of the smallest subnormal
  const mantissa = (magnitude & 0x7f_ffff) | 0x80_0000;
  const half = mantissa >>> shift;
  const remainder = mantissa & ((1 << shift) - 1);
  const tie = 1 << (shift - 1);
  return remainder > tie || (remainder === tie && (half & 1) === 1) ? half + 1 : half;
}

/** BF16 bit patterns of float32 values: nearest, ties to even; NaN stays NaN. */
export function float32ToBF16(values: Float32Array): Uint16Array {
  const source = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const target = new Uint16Array(values.length);
  for (let i = 0; i < source.length; i++) {
    const bits = source[i]!;
    const upper = bits >>> 16;
    if ((bits & 0x7fff_ffff) > 0x7f80_0000) {
      target[i] = (upper & 0x7f) === 0 ? upper | 0x40 : upper; // NaN, payload kept
    } else {
      target[i] = (bits + 0x7fff + (upper & 1)) >>> 16;
    }
  }
  return target;
}

/** How floating-point numbers are stored. */
export type FloatDtype = "F32" | "F16" | "BF16";

/** Values as they are stored: float32 numbers, or bit patterns of the 16-bit formats. */
export function narrowed(values: Float32Array, dtype: FloatDtype): Float32Array | Uint16Array {
  if (dtype === "F32") return values;
  return dtype === "F16" ? float32ToF16(values) : float32ToBF16(values);
}

/** Index of the first NaN or infinity, or -1. */
export function findNonFinite(values: Float32Array): number {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) {
    if ((bits[i]! & 0x7f80_0000) === 0x7f80_0000) return i;
  }
  return -1;
}

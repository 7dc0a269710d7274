import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findNonFinite, float32ToBF16, float32ToF16, widenBF16, widenF16 } from "./float16.ts";

const all = Uint16Array.from({ length: 65_536 }, (_, i) => i);

function widened(widen: typeof widenF16, source: Uint16Array): Float32Array {
  const bits = new Uint32Array(source.length);
  widen(source, bits);
  return new Float32Array(bits.buffer);
}

/** Much faster than `toEqual` on long arrays. */
function sameBits(a: Uint16Array, b: Uint16Array): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

/** Definition of binary16. Source: https://en.wikipedia.org/wiki/Half-precision_floating-point_format */
function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const mantissa = bits & 0x3ff;
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN;
  return exponent === 0
    ? sign * mantissa * 2 ** -24
    : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** Distance-minimal pattern among the two finite or infinite neighbours, ties to the even pattern. */
function nearestHalf(value: number): number {
  const magnitude = Math.abs(value);
  let low = 0;
  let high = 0x7c00;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (halfValue(middle) <= magnitude) low = middle;
    else high = middle;
  }
  if (magnitude === Infinity) low = 0x7c00;
  else {
    const above = high === 0x7c00 ? 65_536 : halfValue(high);
    const toLow = magnitude - halfValue(low);
    const toHigh = above - magnitude;
    if (toHigh < toLow || (toHigh === toLow && low % 2 === 1)) low = high;
  }
  return low | (Object.is(value, -0) || value < 0 ? 0x8000 : 0);
}

describe("F16", () => {
  it("widens every bit pattern to its defined value", () => {
    expect(widened(widenF16, all)).toEqual(Float32Array.from(all, halfValue));
  });

  it("narrows every widened bit pattern back to itself", () => {
    expect(sameBits(float32ToF16(widened(widenF16, all)), all)).toBe(true);
  });

  it("widens odd lengths and unaligned starts", () => {
    expect(widened(widenF16, Uint16Array.of(0x3c00))).toEqual(Float32Array.of(1));
    expect(widened(widenF16, all.slice(0x3bff).subarray(1, 4))).toEqual(
      Float32Array.from([0x3c00, 0x3c01, 0x3c02], halfValue),
    );
  });

  it("rounds to nearest, ties to even", () => {
    const cases = [0, -0, 2 ** -25, 2 ** -25 * 1.0001, 2 ** -24 * 1.5, 2 ** -24 * 2.5, 2 ** -26];
    cases.push(2 ** -14, 2 ** -14 - 2 ** -25, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 65_504, 65_519.996);
    cases.push(65_520, 65_536, 1e38, Infinity, -Infinity);
    const values = Float32Array.from(cases);
    expect(float32ToF16(values)).toEqual(Uint16Array.from(values, nearestHalf));
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(fc.float({ noNaN: true }), fc.float({ min: -7e4, max: 7e4, noNaN: true })),
        ),
        (numbers) => {
          const values = Float32Array.from(numbers);
          expect(float32ToF16(values)).toEqual(Uint16Array.from(values, nearestHalf));
        },
      ),
    );
  });

  it("keeps NaN a NaN whose payload lies in the bits that are cut off", () => {
    const bits = Uint32Array.of(0x7f80_0001, 0xff80_0001);
    expect(float32ToF16(new Float32Array(bits.buffer))).toEqual(Uint16Array.of(0x7e00, 0xfe00));
    expect(float32ToBF16(new Float32Array(bits.buffer))).toEqual(Uint16Array.of(0x7fc0, 0xffc0));
  });
});

describe("BF16", () => {
  it("round-trips every bit pattern", () => {
    expect(sameBits(float32ToBF16(widened(widenBF16, all)), all)).toBe(true);
    const odd = all.slice().subarray(1);
    expect(sameBits(float32ToBF16(widened(widenBF16, odd)), odd)).toBe(true);
  });

  it("rounds to nearest, ties to even, up to infinity", () => {
    const bits = Uint32Array.of(0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x3f80_7fff, 0x7f7f_8000);
    expect(float32ToBF16(new Float32Array(bits.buffer))).toEqual(
      Uint16Array.of(0x3f80, 0x3f82, 0x3f81, 0x3f80, 0x7f80),
    );
  });
});

describe("findNonFinite", () => {
  it("gives the first index of NaN or infinity, or -1", () => {
    expect(findNonFinite(Float32Array.of(0, 3.4e38, -1e-45))).toBe(-1);
    expect(findNonFinite(Float32Array.of())).toBe(-1);
    expect(findNonFinite(Float32Array.of(0, NaN, Infinity))).toBe(1);
    expect(findNonFinite(Float32Array.of(1, 2, -Infinity).subarray(1))).toBe(1);
  });
});

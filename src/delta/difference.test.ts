import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { applyDifference, difference } from "./difference.ts";

const bits = (values: Float32Array): number[] => [...new Uint32Array(values.buffer)];
const float = fc.float({ noNaN: true, noDefaultInfinity: true, min: -1e10, max: 1e10 });

describe("difference", () => {
  it("is undone bit for bit in F32, also where the sum rounds", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(float, float), { minLength: 1 }), (pairs) => {
        const base = Float32Array.from(pairs, ([value]) => value);
        const changed = Float32Array.from(pairs, ([, value]) => value);
        const restored = applyDifference(base, difference(base, changed, "F32"));
        expect(bits(restored)).toEqual(bits(changed));
      }),
    );
  });

  it("stores only the elements that a sum misses beside the change", () => {
    const base = Float32Array.of(1, 1, 0);
    const changed = Float32Array.of(1.25, 1e-10, -0);
    const { delta, exactIndex, exactValue } = difference(base, changed, "F32");
    expect([...delta]).toEqual([0.25, -1, -0]);
    expect([...exactIndex]).toEqual([1, 2]);
    expect([...exactValue]).toEqual([Math.fround(1e-10), -0]);
  });

  it("rounds to nearest in 16 bits", () => {
    const base = Float32Array.of(0, 0);
    const changed = Float32Array.of(1 + 2 ** -12, 1 + 2 ** -8);
    const half = difference(base, changed, "F16");
    expect([...half.delta]).toEqual([1, 1 + 2 ** -8]);
    expect(half.exactIndex).toHaveLength(0);
    expect([...difference(base, changed, "BF16").delta]).toEqual([1, 1]);
  });
});

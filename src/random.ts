/**
 * @file Seeded random numbers. Every use names its purpose: `randomGenerator(seed, "split")` and
 * `randomGenerator(seed, "batches", epoch)` are independent streams, and each is a pure function of its
 * arguments, so that a run can be repeated or resumed anywhere without saving generator states.
 *
 * Sources: xoshiro128** (Blackman and Vigna, https://prng.di.unimi.it/xoshiro128starstar.c, public domain);
 * its 128-bit state is hashed from seed and keys with MurmurHash3_x86_32 (Appleby, public domain).
 */

import { LowrankError } from "./errors.ts";

/** A stream of random numbers; each call advances it. */
export interface RandomGenerator {
  /** Uniform in [0, 1), with all 53 bits of a double. */
  uniform(): number;
  /** Standard normal, by the polar method of Marsaglia. */
  normal(): number;
  /** Uniform integer in [0, n), without modulo bias. n: 1 … 2³². */
  int(n: number): number;
}

function mixBlock(block: number): number {
  const k = Math.imul(block, 0xcc9e2d51);
  return Math.imul((k << 15) | (k >>> 17), 0x1b873593);
}

/** MurmurHash3_x86_32 of the UTF-16 code units of a string, two units a block. */
function murmur3(text: string, seed: number): number {
  let hash = seed;
  let i = 0;
  for (; i + 1 < text.length; i += 2) {
    hash ^= mixBlock(text.charCodeAt(i) | (text.charCodeAt(i + 1) << 16));
    hash = Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64;
  }
  if (i < text.length) hash ^= mixBlock(text.charCodeAt(i));
  hash ^= text.length * 2;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/**
 * The random stream of a seed and a purpose.
 *
 * @param seed any safe integer
 * @param keys what the numbers are for, e.g. `"dropout", step`; different keys give independent streams
 * @throws LowrankError "usage" when the seed is not a safe integer
 */
export function randomGenerator(
  seed: number,
  ...keys: readonly (string | number)[]
): RandomGenerator {
  if (!Number.isSafeInteger(seed)) {
    throw new LowrankError(
      "usage",
      `seed: expected a whole number, got ${seed}. Pass for example 123.`,
    );
  }
  // JSON keeps ("a", "b") apart from ("ab") and ("1") from (1).
  const name = JSON.stringify([seed, ...keys]);
  let a = murmur3(name, 0x9e3779b9);
  let b = murmur3(name, 0x243f6a88);
  let c = murmur3(name, 0xb7e15162);
  let d = murmur3(name, 0x6a09e667) | 1; // xoshiro's state must not be all zero
  let spare: number | undefined; // the second number of a polar pair

  const next = (): number => {
    const s = Math.imul(b, 5);
    const result = Math.imul((s << 7) | (s >>> 25), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = (d << 11) | (d >>> 21);
    return result;
  };
  const uniform = (): number => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;

  return {
    uniform,
    normal() {
      if (spare !== undefined) {
        const value = spare;
        spare = undefined;
        return value;
      }
      for (;;) {
        const u = 2 * uniform() - 1;
        const v = 2 * uniform() - 1;
        const s = u * u + v * v;
        if (s > 0 && s < 1) {
          const factor = Math.sqrt((-2 * Math.log(s)) / s);
          spare = v * factor;
          return u * factor;
        }
      }
    },
    int(n) {
      if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
        throw new RangeError(`int(n): expected a whole number from 1 to 2^32, got ${n}`);
      }
      const limit = 2 ** 32 - (2 ** 32 % n); // numbers above would favour the small remainders
      for (;;) {
        const value = next();
        if (value < limit) return value % n;
      }
    },
  };
}

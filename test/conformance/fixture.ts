/** @file Reading a conformance fixture: golden.json, golden.safetensors, and how to compare. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  readFloat32,
  readHeader,
  readTensor,
  type SafetensorsHeader,
} from "../../src/io/safetensors.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";

export interface NumberObject<T = number> {
  value: T;
  atol: number;
}

interface TensorRule {
  compare: string;
  /** Absent for integers, which must be equal. */
  atol?: number;
  rtol?: number;
}

export interface Fixture {
  readonly name: string;
  readonly directory: string;
  /** The parsed golden.json. */
  readonly golden: any;
  readonly tensors: SafetensorsHeader;
}

export async function readFixture(directory: string, name: string): Promise<Fixture> {
  const path = join(directory, name);
  const golden: unknown = JSON.parse(await readFile(join(path, "golden.json"), "utf8"));
  return {
    name,
    directory: path,
    golden,
    tensors: await readHeader(join(path, "golden.safetensors")),
  };
}

/** A stored tensor as a feed: integers narrowed to int32. */
export async function feed({ tensors }: Fixture, key: string): Promise<HostTensor> {
  const info = tensors.tensors.get(key)!;
  if (info.dtype === "I64") {
    const data = Int32Array.from((await readTensor(info)) as BigInt64Array, Number);
    return { dtype: "int32", shape: info.shape, data };
  }
  return { dtype: "float32", shape: info.shape, data: await readFloat32(info) };
}

export interface Deviation {
  /** Largest |actual - golden|. */
  largest: number;
  /** Largest share of the tolerance that an element uses; above 1 is a failure. */
  used: number;
}

export async function compareTensor(
  fixture: Fixture,
  key: string,
  actual: ArrayLike<number | bigint>,
): Promise<Deviation> {
  const rule: TensorRule = fixture.golden.tensors?.[key] ?? fixture.golden[key];
  if (rule.compare === "none") return { largest: 0, used: 0 };
  if (rule.compare === "ulp") return compareBits(fixture, key, actual);
  const golden = (await feed(fixture, key)).data;
  const rows = rule.compare.startsWith("mask:")
    ? (await feed(fixture, rule.compare.slice("mask:".length))).data
    : undefined;
  const width = rows ? golden.length / rows.length : 1;
  const result = { largest: 0, used: 0 };
  if (actual.length !== golden.length) return { largest: Infinity, used: Infinity };
  for (let i = 0; i < golden.length; i++) {
    if (rows && Number(rows[Math.floor(i / width)]) !== 1) continue;
    const expected = Number(golden[i]);
    const { atol } = rule;
    const allowed = atol === undefined ? 0 : atol + (rule.rtol ?? 1e-5) * Math.abs(expected);
    accumulate(result, Number(actual[i]) - expected, allowed);
  }
  return result;
}

/** Bit patterns of 16-bit floats, which may differ by one unit in the last place. */
async function compareBits(
  { tensors }: Fixture,
  key: string,
  actual: ArrayLike<number | bigint>,
): Promise<Deviation> {
  const golden = (await readTensor(tensors.tensors.get(key)!)) as Uint16Array;
  const result = { largest: 0, used: 0 };
  if (actual.length !== golden.length) return { largest: Infinity, used: Infinity };
  for (let i = 0; i < golden.length; i++) {
    accumulate(result, ordered(Number(actual[i])) - ordered(golden[i]!), 1);
  }
  return result;
}

/** A number that counts the floats of 16 bits in their order. */
const ordered = (bits: number): number => (bits & 0x8000 ? -(bits & 0x7fff) : bits);

export function compareNumber(golden: NumberObject, actual: number): Deviation {
  const result = { largest: 0, used: 0 };
  accumulate(result, actual - golden.value, golden.atol);
  return result;
}

export function compareNumbers(golden: NumberObject<number[]>, actual: number[]): Deviation {
  const result = { largest: 0, used: 0 };
  for (const [i, value] of golden.value.entries()) {
    accumulate(result, (actual[i] ?? Number.NaN) - value, golden.atol);
  }
  return result;
}

function accumulate(result: Deviation, difference: number, tolerance: number): void {
  const size = Math.abs(difference);
  // Where nothing is allowed, an equal value uses 0 / 0 of it.
  const used = Number.isNaN(size) ? Infinity : size === 0 ? 0 : size / tolerance;
  result.largest = Math.max(result.largest, Number.isNaN(size) ? Infinity : size);
  result.used = Math.max(result.used, used);
}

export function worst(deviations: readonly Deviation[]): Deviation {
  return deviations.reduce(
    (a, b) => ({ largest: Math.max(a.largest, b.largest), used: Math.max(a.used, b.used) }),
    { largest: 0, used: 0 },
  );
}

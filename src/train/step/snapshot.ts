/** @file Copies of everything that training changes, to go back to the best adapter. */
import { findNonFinite } from "../../io/float16.ts";
import type { Engine } from "../../runtime/engine.ts";
import type { Bucket } from "./trainable.ts";

/** Values of the trainable parameters by bucket. */
export type Snapshot = ReadonlyMap<string, Float32Array>;

/** Copy the current values out of the engine. */
export async function takeSnapshot(engine: Engine, buckets: readonly Bucket[]): Promise<Snapshot> {
  const values = new Map<string, Float32Array>();
  for (const { names } of buckets) {
    values.set(names.parameter, (await engine.get(names.parameter)).data as Float32Array);
  }
  return values;
}

/** Put values back. */
export async function restoreSnapshot(engine: Engine, snapshot: Snapshot): Promise<void> {
  for (const [name, values] of snapshot) {
    await engine.put(name, { dtype: "float32", shape: [values.length], data: values.slice() });
  }
}

/** Whether all values are numbers. */
export function allFinite(snapshot: Snapshot): boolean {
  return [...snapshot.values()].every((values) => findNonFinite(values) === -1);
}

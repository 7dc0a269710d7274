/** @file How the loss went in a training run: read from the events that it left in its directory. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { METRICS_FILE } from "../train/listeners/jsonl.ts";

export interface CurvePoint {
  /** Optimizer steps made. */
  readonly step: number;
  readonly loss: number;
}

export interface LossCurves {
  /** Of each step; a loss that was no number is NaN. */
  readonly training: readonly CurvePoint[];
  /** On the validation data, each time that it was evaluated. */
  readonly validation: readonly CurvePoint[];
}

/** The part of an event that is used. */
interface LoggedEvent {
  readonly type: string;
  readonly step: number;
  readonly loss?: number | null;
  readonly metrics?: { readonly scalars: Readonly<Record<string, number | null>> };
}

/** The curves of a trained directory; empty where it left no events. */
export async function readCurves(directory: string): Promise<LossCurves> {
  const file = join(directory, METRICS_FILE);
  if (!existsSync(file)) return { training: [], validation: [] };
  const lines = (await readFile(file, "utf8")).split("\n").filter((line) => line !== "");
  const events = lines.map((line) => JSON.parse(line) as LoggedEvent);
  const points = (type: string, loss: (event: LoggedEvent) => number | null | undefined) =>
    events
      .filter((event) => event.type === type)
      .map((event) => ({ step: event.step, loss: loss(event) ?? NaN }));
  return {
    training: points("step", ({ loss }) => loss),
    validation: points("evaluated", ({ metrics }) => metrics?.scalars["loss"]),
  };
}

/** The mean of several runs, step by step: of those that were still running. A NaN makes the mean one. */
export function meanCurve(curves: readonly (readonly CurvePoint[])[]): CurvePoint[] {
  const losses = new Map<number, number[]>();
  for (const { step, loss } of curves.flat()) {
    losses.set(step, [...(losses.get(step) ?? []), loss]);
  }
  return [...losses]
    .sort(([a], [b]) => a - b)
    .map(([step, values]) => ({ step, loss: values.reduce((a, b) => a + b, 0) / values.length }));
}

/** At most `count` points, each the mean of a stretch of steps of equal length, put at its middle. */
export function smoothCurve(curve: readonly CurvePoint[], count: number): CurvePoint[] {
  const size = stretchOf(curve, count);
  return Array.from({ length: Math.ceil(curve.length / size) }, (_, index) => {
    const part = curve.slice(index * size, (index + 1) * size);
    const mean = (value: (point: CurvePoint) => number): number =>
      part.reduce((sum, point) => sum + value(point), 0) / part.length;
    return { step: mean(({ step }) => step), loss: mean(({ loss }) => loss) };
  });
}

/** Steps that `smoothCurve` takes together. */
export function stretchOf(curve: readonly CurvePoint[], count: number): number {
  return Math.max(1, Math.ceil(curve.length / count));
}

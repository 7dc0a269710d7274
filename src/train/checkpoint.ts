/** @file Writing what a run has come to: its output directory at the end, on the way, and what it needs to go on. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { OutputDirectory } from "../io/files.ts";
import type { Engine } from "../runtime/engine.ts";
import type { TrainResult } from "./events.ts";
import { METRICS_FILE } from "./listeners/jsonl.ts";
import type { LoopPoint } from "./loop.ts";
import type { ReadValues } from "./methods/method.ts";
import { copyInto, writeOutputDirectory, type OutputContents } from "./output.ts";
import type { Prepared } from "./prepare.ts";
import type { Snapshot } from "./step/snapshot.ts";
import type { Stepper } from "./step/stepper.ts";
import { partOf } from "./step/trainable.ts";
import { writeTrainingState } from "./training-state.ts";

export interface Run {
  readonly prepared: Prepared;
  readonly engine: Engine;
  readonly stepper: Stepper;
}

/** What an output directory is made of; of the weights that the engine holds, unless others are given. */
export function contentsOf(
  { prepared, stepper }: Run,
  result?: Omit<TrainResult, "output">,
  weights?: Snapshot,
): OutputContents {
  const { base, method, task, options, train, validation } = prepared;
  return {
    base,
    method,
    task,
    options,
    trainExamples: train.length,
    validationExamples: validation.length,
    ...(result ? { result } : {}),
    values: weights ? valuesOf(weights, stepper) : (path) => stepper.values(path),
  };
}

/** Reads trainable parameters from a copy of them. */
function valuesOf(weights: Snapshot, { buckets }: Stepper): ReadValues {
  const values = new Map<string, Float32Array>();
  for (const { names, members } of buckets) {
    const bucket = weights.get(names.parameter)!;
    for (const member of members) values.set(member.name, partOf(bucket, member));
  }
  return (path) => Promise.resolve(values.get(path)!);
}

/** Write what the run needs to go on into a directory under construction. Throws LowrankError("io"). */
export async function writePoint(
  path: string,
  { state, best }: LoopPoint,
  run: Run,
): Promise<void> {
  const { prepared, engine, stepper } = run;
  await writeTrainingState(path, {
    loop: state,
    best,
    engine,
    buckets: stepper.buckets,
    sources: prepared.sources,
    examples: prepared.fingerprint(),
  });
}

/** Put into place what a run that is aborted now would leave. Throws LowrankError. */
export async function writeCheckpoint(
  output: OutputDirectory,
  point: LoopPoint,
  run: Run,
): Promise<void> {
  await output.commitEarly(async (path) => {
    await copyLog(output.path, path);
    const contents = contentsOf(run, point.result, point.best);
    await writeOutputDirectory(path, output.target, contents);
    await writePoint(path, point, run);
  });
}

/** Take the events of a directory, if there are any, to another one. Throws LowrankError("io"). */
export async function copyLog(from: string, to: string): Promise<void> {
  const file = join(from, METRICS_FILE);
  if (existsSync(file)) await copyInto(to, file, "copy the events");
}

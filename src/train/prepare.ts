/** @file Everything before the first step: options, data, task, model with adapter, engine. All checks are
 * made here, so that a run that starts can finish. */
import { resolve } from "node:path";
import { LowrankError } from "../errors.ts";
import type { OutputDirectory } from "../io/files.ts";
import { readModelConfig } from "../io/model-config.ts";
import { ADAMW_DEFAULTS } from "../optim/adamw.ts";
import { Engine } from "../runtime/engine.ts";
import { namedLabels, otherLabelsWarning, type HeadLabels } from "../tasks/head-labels.ts";
import { findTask } from "../tasks/registry.ts";
import type { Example, Examples, Task, TaskKind } from "../tasks/task.ts";
import { isNamedIn, loadBase, type Base } from "./base.ts";
import { sourceName, trainingData, type DataSource } from "./data.ts";
import { readManifest } from "./manifest.ts";
import { fullMethod } from "./methods/full.ts";
import { loraMethod } from "./methods/lora.ts";
import type { Method } from "./methods/method.ts";
import { trainOptions, type TrainOptions, type TrainOptionsInput } from "./options.ts";
import { estimateMemory, requireMemory, type MemoryEstimate } from "./step/memory.ts";
import { checkFreeSpace } from "./output.ts";
import { Stepper, type StepperOptions } from "./step/stepper.ts";
import { examplesHash, type Sources, type TrainingState } from "./training-state.ts";

/** The options of a run; data may be rows in memory. */
export type TrainerOptions = Omit<TrainOptionsInput, "data" | "validationData"> & {
  readonly data: DataSource;
  readonly validationData?: DataSource | undefined;
};

export interface Prepared {
  readonly options: TrainOptions;
  readonly task: Task;
  readonly base: Base;
  readonly method: Method;
  readonly train: readonly Example[];
  readonly validation: readonly Example[];
  /** Training and validation texts that were cut. */
  readonly truncated: number;
  readonly warnings: readonly string[];
  /** What training will take. */
  readonly memory: MemoryEstimate;
  /** Where the data is. */
  readonly sources: Sources;
  /** What tells these examples from others; computed once, when it is asked for. */
  readonly fingerprint: () => string;
}

const METHODS = { lora: loraMethod, full: fullMethod };

/** Check the options, read the data, build the model. Throws LowrankError. */
export async function prepare(
  given: TrainerOptions,
  output: OutputDirectory | undefined,
): Promise<Prepared> {
  const { data, validationData } = given;
  const asked = trainOptions({
    ...given,
    data: sourceName(data),
    ...(validationData === undefined ? {} : { validationData: sourceName(validationData) }),
  });
  const kind = findTask(asked.task);
  const tables = await trainingData(kind, { ...asked, data, validationData });
  const head = await headLabels(kind, asked);
  const task = kind.create(tables.train, asked, head);
  checkBestMetric(task, asked);

  const { model: directory, maxLength, newHead, dropout } = asked;
  const base = await loadBase({ directory, task, maxLength, newHead, dropout });
  const train = task.readExamples(tables.train, base.encoder, asked);
  const validation: Examples = tables.validation
    ? task.readExamples(tables.validation, base.encoder, asked)
    : { examples: [], truncated: 0 };
  // A batch is filled up to its size: no one wants to compute rows that there are no examples for.
  const batchSize = Math.max(1, Math.min(asked.batchSize, train.examples.length));
  const options = { ...asked, batchSize };

  const method = await METHODS[options.method](options, base, task);
  if (output) await checkFreeSpace(output.path, output.target, method.storedBytes);
  const memory = memoryOf(options, task, base, [train, validation]);
  let fingerprint: string | undefined;
  return {
    memory,
    options,
    task,
    base,
    method,
    train: train.examples,
    validation: validation.examples,
    truncated: train.truncated + validation.truncated,
    warnings: [
      ...[tables, base, task, method, train, validation].flatMap(({ warnings = [] }) => warnings),
      ...labelsWarnings(head, task, base),
    ],
    sources: { data: absolute(data), validationData: absolute(validationData) },
    fingerprint: () => (fingerprint ??= examplesHash(train.examples, validation.examples)),
  };
}

/** What the head was trained for: that of an adapter that is trained on, else the base model's. */
async function headLabels(
  { name }: TaskKind,
  { model, adapter }: TrainOptions,
): Promise<HeadLabels | undefined> {
  const manifest = adapter === undefined ? undefined : await readManifest(adapter);
  const stays = manifest?.task.name === name;
  const labels = namedLabels(stays ? manifest.modelConfig : await readModelConfig(model));
  return labels && { labels, stays };
}

function labelsWarnings(head: HeadLabels | undefined, task: Task, base: Base): string[] {
  const isNew = base.newParameters.some((name) => isNamedIn(name, base.family.headModules));
  const trained = namedLabels(task.modelConfig);
  const warning = head && trained && !isNew ? otherLabelsWarning(head, trained) : undefined;
  return warning === undefined ? [] : [warning];
}

const absolute = (source: DataSource | undefined): string | null =>
  typeof source === "string" ? resolve(source) : null;

/** Throws LowrankError("training") when there is not enough. */
function memoryOf(
  options: TrainOptions,
  task: Task,
  { model, encoder }: Base,
  [train, validation]: readonly [Examples, Examples],
): MemoryEstimate {
  const { method, batchSize } = options;
  const { maxLength } = encoder;
  const length = train.examples.reduce((most, { inputIds }) => Math.max(most, inputIds.length), 1);
  const shape = { batch: batchSize, length: Math.min(length, maxLength) };
  const memory = estimateMemory(model, task, shape, validation.examples.length > 0);
  requireMemory(memory, { method, batchSize, maxLength: shape.length });
  return memory;
}

function checkBestMetric(task: Task, { bestMetric }: TrainOptions): void {
  const names = ["loss", ...task.metricNames];
  if (bestMetric === undefined || names.includes(bestMetric)) return;
  throw new LowrankError(
    "usage",
    `bestMetric: expected one of ${names.join(", ")}, got ${JSON.stringify(bestMetric)}.`,
  );
}

/** What the caller wants to see of a run beside its events. */
export type Hooks = Pick<StepperOptions, "onGraph">;

/** Start an engine with the model's weights and the optimizer's state, those of the beginning or those that an interrupted
 * run left. */
export async function startEngine(
  { options, base, method }: Prepared,
  { onGraph, from }: Hooks & { readonly from?: TrainingState | undefined } = {},
): Promise<{ engine: Engine; stepper: Stepper }> {
  const { device, threads, weightDecay, maxGradNorm, seed } = options;
  const { rules } = method;
  const engine = await Engine.start({ device, threads });
  try {
    const stepper = await Stepper.create(engine, base.model, {
      ...ADAMW_DEFAULTS,
      weightDecay,
      ...(maxGradNorm === 0 ? {} : { maxGradNorm }),
      seed,
      ...(rules ? { rules } : {}),
      ...(onGraph ? { onGraph } : {}),
      from: from && {
        stepCount: from.loop.step,
        microBatchCount: from.loop.microBatches,
        fill: from.fill,
      },
    });
    return { engine, stepper };
  } catch (error) {
    await engine.close();
    throw error;
  }
}

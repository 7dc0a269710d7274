/** @file The memory that a training run will take, estimated before it starts, and the refusal of one that cannot fit. */
import { freemem, totalmem } from "node:os";
import { LowrankError } from "../../errors.ts";
import { peakMemory } from "../../graph/peak-memory.ts";
import type { Model } from "../../models/family.ts";
import { countParameters } from "../../nn/module.ts";
import { optimize } from "../../passes/optimize.ts";
import type { Task } from "../../tasks/task.ts";
import { buildGradients } from "./split-step.ts";
import { isSplit } from "./stepper.ts";
import { makeBuckets } from "./trainable.ts";

/** Bytes by what they are for. */
export interface MemoryEstimate {
  /** Weights that are not trained. */
  readonly frozen: number;
  /** Trained weights, their gradients and the optimizer's state. */
  readonly trained: number;
  /** Intermediate results of a step over the longest batch. */
  readonly activations: number;
  /** A copy of the best weights so far, where there is validation data. */
  readonly best: number;
  readonly total: number;
}

/** Node, ONNX Runtime and the data. */
const PROCESS_BYTES = 2e8;
const FLOAT = 4;
/** ONNX Runtime's arena holds a little more than the tensors in it. */
const ARENA = 1.1;

/** Estimate what training takes with batches of a shape. */
export function estimateMemory(
  model: Model,
  task: Task,
  shape: { readonly batch: number; readonly length: number },
  keepsBest: boolean,
): MemoryEstimate {
  const trainable = countParameters(model, { trainable: true });
  const buckets = makeBuckets(model, undefined, Infinity);
  const { lossSum } = task.build(model.train() as Model, shape);
  const graph = buildGradients(model, buckets, lossSum, { accumulated: false, update: true });
  // Parameter, both moments and gradient; in one graph all but the gradient twice.
  const copies = isSplit(trainable) ? 4 : 7;
  const parts = {
    frozen: FLOAT * countParameters(model, { trainable: false }),
    trained: FLOAT * trainable * copies,
    activations: ARENA * peakMemory(optimize(graph, { passes: ["fuse"] })),
    best: keepsBest ? FLOAT * trainable : 0,
  };
  const total = Object.values(parts).reduce((sum, bytes) => sum + bytes, PROCESS_BYTES);
  return { ...parts, total };
}

/** What macOS has of its memory for a program, roughly: it calls free only what nothing was ever cached in. */
const DARWIN_SHARE = 0.75;

/** Memory that this process could still take, the limits of a container considered. */
export function availableMemory(): number {
  if (process.platform === "darwin") return DARWIN_SHARE * totalmem();
  return process.availableMemory?.() ?? freemem();
}

/** Refuse what cannot fit. Throws LowrankError("training"). */
export function requireMemory(
  estimate: MemoryEstimate,
  options: { readonly method: string; readonly batchSize: number; readonly maxLength: number },
  available: number = availableMemory(),
): void {
  if (estimate.total <= available) return;
  const { frozen, trained, activations, best, total } = estimate;
  const { method, batchSize, maxLength } = options;
  const remedies = [
    ...(method === "full" ? ["lora as method", "trainLastLayers"] : ["a lower rank"]),
    ...(batchSize > 1 ? [`a batch size below ${batchSize} with gradientAccumulation`] : []),
    `a maxLength below ${maxLength}`,
  ];
  throw new LowrankError(
    "training",
    `method ${method}: training needs about ${gigabytes(total)} of memory ` +
      `(trained weights with gradients and optimizer ${gigabytes(trained)}, frozen weights ${gigabytes(frozen)}, ` +
      `a step's results ${gigabytes(activations)}${best > 0 ? `, the best weights so far ${gigabytes(best)}` : ""}), ` +
      `${gigabytes(available)} are free. Choose ${remedies.join(", or ")}.`,
  );
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(bytes < 1e9 ? 2 : 1)} GB`;

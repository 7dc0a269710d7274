/** @file What runs training steps (stepper.ts) as compiled graphs: all in one (fused-step.ts), or in two parts for many
 * trainable parameters (split-step.ts). */
import type { Graph } from "../../graph/graph.ts";
import type { Tensor } from "../../graph/node.ts";
import type { Module } from "../../nn/module.ts";
import type { OptimizeOptions } from "../../passes/optimize.ts";
import { compile } from "../../runtime/compile.ts";
import type { Engine, Program } from "../../runtime/engine.ts";
import type { HostTensor } from "../../runtime/protocol.ts";
import type { StepKind, StepOptions } from "./step.ts";
import type { Bucket } from "./trainable.ts";

/** A part of a step's batch: its feeds, and the sum of its losses as a graph. */
export interface MicroBatch {
  /** Batches with equal keys have equal shapes: they share a compiled step. */
  readonly key: string;
  /** The sum of the losses, built when a key is first seen. */
  readonly lossSum: () => Tensor;
  readonly feeds: StepFeeds;
  /** Number of labels that lossSum is the sum over. */
  readonly labels: number;
}

export type StepFeeds = Readonly<Record<string, HostTensor>>;

/** What a training step measured. */
export interface StepResult {
  /** Mean over the labels of all micro-batches. */
  readonly loss: number;
  /** Norm of the gradient before clipping. */
  readonly gradNorm: number;
}

/** What is stepped, and how. */
export interface StepContext {
  readonly engine: Engine;
  readonly model: Module;
  /** The trainable parameters, as the engine holds them. */
  readonly buckets: readonly Bucket[];
  readonly options: StepOptions &
    Pick<OptimizeOptions, "passes"> & {
      /** Called with the optimized graph of every step that is compiled. */
      readonly onGraph?: (graph: Graph) => void;
    };
}

export interface StepPrograms {
  /** Run a micro-batch of a step; its share of the loss, and with an update the norm of the whole step's gradient. */
  run(batch: MicroBatch, kind: StepKind, feeds: StepFeeds): Promise<StepResult>;
  release(): Promise<void>;
}

/** Compile a graph of a step. */
export function compileStep({ engine, options }: StepContext, graph: Graph): Promise<Program> {
  const { passes, onGraph } = options;
  return compile(engine, graph, { ...(passes ? { passes } : {}), ...(onGraph ? { onGraph } : {}) });
}

export function scalar(value: number): HostTensor {
  return { dtype: "float32", shape: [], data: Float32Array.of(value) };
}

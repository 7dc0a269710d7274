/**
 * @file AdamW on the processor in one pass over memory, where a graph of it (optim/adamw.ts) takes a dozen: WebAssembly with
 * vector instructions (adamw.wat). For whole models, whose optimizer would be a fifth of a step; the numbers are the graph's up to
 * rounding.
 */
import { ADAMW_MODULE } from "./adamw-module.ts";

/** What a step multiplies by, g the gradient as it was computed:
 * m ← decay1·m + gain1·g, v ← decay2·v + (gain2·g)², p ← keep·p - rate·m / (√v + eps). */
export interface AdamWFactors {
  readonly decay1: number;
  readonly gain1: number;
  readonly decay2: number;
  readonly gain2: number;
  readonly eps: number;
  readonly rate: number;
  readonly keep: number;
}

/** The vectors of an optimizer's state, in the order in which they lie in memory. */
export const STATE_VECTORS = ["parameter", "gradient", "firstMoment", "secondMoment"] as const;
export type StateVector = (typeof STATE_VECTORS)[number];

type Kernel = (bytes: number, ...factors: readonly number[]) => void;

/** What is used of WebAssembly: Node's types do not declare it. */
interface WebAssemblyApi {
  readonly Memory: new (size: { initial: number; maximum: number }) => {
    readonly buffer: ArrayBuffer;
  };
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (
    module: object,
    imports: object,
  ) => {
    readonly exports: Readonly<Record<string, unknown>>;
  };
}

const { Memory, Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyApi })
  .WebAssembly;

const PAGE_BYTES = 2 ** 16;
/** Numbers that are computed at a time. */
const LANES = 4;

/** Most numbers that a state can have: its four vectors fill what WebAssembly can address, 4 GiB. */
export const MAX_STATE_LENGTH = 2 ** 28;

/** Trained numbers with gradient and moments, side by side in a memory of their own. */
export class OptimizerState {
  /** Each [length], zero at first; they stay where they are. */
  readonly vectors: Readonly<Record<StateVector, Float32Array>>;
  readonly #bytes: number;
  readonly #kernel: Kernel;

  /** Throws RangeError where there is no room in the process's memory. */
  constructor(length: number) {
    this.#bytes = 4 * LANES * Math.ceil(length / LANES);
    const pages = Math.ceil((STATE_VECTORS.length * this.#bytes) / PAGE_BYTES);
    const memory = new Memory({ initial: pages, maximum: pages });
    const vector = (index: number): Float32Array =>
      new Float32Array(memory.buffer, index * this.#bytes, length);
    this.vectors = {
      parameter: vector(0),
      gradient: vector(1),
      firstMoment: vector(2),
      secondMoment: vector(3),
    };
    const module = new Module(Buffer.from(ADAMW_MODULE, "base64"));
    const { exports } = new Instance(module, { state: { memory } });
    this.#kernel = exports["adamw"] as Kernel;
  }

  /** One step of all numbers. */
  step({ decay1, gain1, decay2, gain2, eps, rate, keep }: AdamWFactors): void {
    this.#kernel(this.#bytes, decay1, gain1, decay2, gain2, eps, rate, keep);
  }
}

/** @file Messages between the library's thread and the thread that runs ONNX Runtime. */
import type { DType, TypedArray } from "../graph/dtype.ts";
import type { TensorType } from "../graph/node.ts";
import type { Shape } from "../graph/shape.ts";
import { PROVIDERS, type ProviderName } from "../onnx/providers.ts";

import type { AdamWFactors, StateVector } from "./adamw-kernel.ts";

/** Where an engine computes: each device is one provider of ONNX Runtime. */
export type Device = ProviderName;
/** What can be asked for; "auto": CUDA where it works, else the CPU (device.ts). */
export const DEVICE_CHOICES = [...PROVIDERS, "auto"] as const;
export type DeviceChoice = (typeof DEVICE_CHOICES)[number];

export interface EngineOptions {
  readonly device: DeviceChoice;
  /** Let ONNX Runtime compute on the CPU what a GPU's provider does not run, instead of an error. */
  readonly allowFallback: boolean;
  /** Threads of one operator; 0: one per physical core. */
  readonly threads: number;
  /** Write ONNX Runtime's profile of every program to files with this prefix. */
  readonly profile?: string;
}

/** A tensor with its values, as it crosses the border (the buffer is transferred). */
export interface HostTensor {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: TypedArray;
}

export interface RunRequest {
  readonly program: number;
  /** Values of this run; every other input of the program is read from the store by its name. */
  readonly feeds: Readonly<Record<string, HostTensor>>;
  /** Input name → name in the store, where they differ. */
  readonly reads: Readonly<Record<string, string>>;
  /** Output name → name in the store under which it is kept, replacing what is there. */
  readonly updates: Readonly<Record<string, string>>;
  /** Output name → stored tensor or view that it is written over. No second copy is needed; the program may read
   * the same tensor only elementwise on the way to this output. */
  readonly writes: Readonly<Record<string, string>>;
  /** Outputs to send back. */
  readonly fetch: readonly string[];
}

/** A part of a stored vector under a name of its own; it follows the vector's updates. */
export interface View {
  readonly of: string;
  /** First element. */
  readonly offset: number;
  readonly shape: Shape;
}

/** Each request with what it answers. */
export interface Requests {
  start: { request: EngineOptions; response: { version: string; device: Device } };
  compile: {
    /** `weights`: tensors of the store that the model takes as its own. */
    request: {
      bytes: Uint8Array;
      inputs: readonly string[];
      outputs: Readonly<Record<string, TensorType>>;
      weights: readonly string[];
    };
    response: { program: number };
  };
  put: { request: { name: string; tensor: HostTensor }; response: void };
  view: { request: { name: string; view: View }; response: void };
  get: { request: { name: string }; response: HostTensor };
  /** Make room for trained numbers with gradient and moments, each zero, of which AdamW can be computed in one pass; what is put
   * under these names then is copied there. Answers false where there is no such room. */
  state: {
    request: { names: Readonly<Record<StateVector, string>>; length: number };
    response: boolean;
  };
  /** A step of AdamW of the state with this parameter. */
  adamw: { request: { parameter: string; factors: AdamWFactors }; response: void };
  /** Set all elements of stored tensors or views to 0. */
  zero: { request: { names: readonly string[] }; response: void };
  remove: { request: { names: readonly string[] }; response: void };
  release: { request: { program: number }; response: void };
  run: {
    request: RunRequest;
    response: { outputs: Record<string, HostTensor>; elapsedMs: number };
  };
}

export type RequestName = keyof Requests;

export interface RequestMessage {
  readonly id: number;
  readonly name: RequestName;
  readonly body: unknown;
}

export type ResponseMessage =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: string };

/** What every request is answered once the engine is being closed. */
export const CLOSED = "the engine stopped: the engine is closed";

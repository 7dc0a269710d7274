/**
 * @file The library's side of the runtime: an Engine compiles graphs to programs and runs them in a
 * worker thread, so that the caller's thread stays free while numbers are computed.
 */
import { Worker } from "node:worker_threads";
import { LowrankError, requireOptions } from "../errors.ts";
import type { OnnxModel } from "../onnx/lower.ts";
import { provider } from "../onnx/providers.ts";
import { DYNAMIC_LENGTH, resolveDimension } from "../graph/dynamic.ts";
import { formatShape, sameShape, sizeOf } from "../graph/shape.ts";
import { BYTES } from "../graph/dtype.ts";
import type { AdamWFactors, StateVector } from "./adamw-kernel.ts";
import { Gate, guardExit } from "./gate.ts";
import {
  CLOSED,
  DEVICE_CHOICES,
  type Device,
  type EngineOptions,
  type HostTensor,
  type RequestMessage,
  type RequestName,
  type Requests,
  type ResponseMessage,
  type RunRequest,
  type View,
} from "./protocol.ts";

/** The built worker, seen from src/runtime and dist/runtime alike: Node 20 starts no thread from
 * TypeScript, so tests and examples need `npm run build` first (npm test does it). */
const WORKER = new URL("../../dist/runtime/worker.js", import.meta.url);

/** Where each length is compiled by itself, lengths are rounded up to this. */
const STATIC_LENGTH_MULTIPLE = 8;

/** A compiled graph. */
export interface Program {
  readonly id: number;
  readonly model: Pick<OnnxModel, "inputs" | "outputs">;
}

/** The fetched outputs of a run, by name. */
export interface RunResult {
  readonly outputs: Record<string, HostTensor>;
  /** Time inside ONNX Runtime. */
  readonly elapsedMs: number;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** ONNX Runtime in a thread of its own, with a store of named tensors. Close it when done. */
export class Engine {
  readonly options: EngineOptions;
  /** ONNX Runtime's version, once started. */
  version = "";
  /** The provider that computes, once started: what "auto" came down to. */
  device: Device = "cpu";
  readonly #worker: Worker;
  readonly #gate = new Gate();
  readonly #unguard = guardExit(this.#gate);
  readonly #pending = new Map<number, Pending>();
  /** Answered after all others. */
  #last: Promise<unknown> = Promise.resolve();
  #nextId = 0;
  #failure: Error | undefined;

  private constructor(options: EngineOptions) {
    this.options = options;
    // The program's own flags, such as --eval or a loader, are not for this file.
    this.#worker = new Worker(WORKER, { workerData: this.#gate.memory, execArgv: [] });
    this.#worker.unref();
    this.#worker.on("message", (message: ResponseMessage) => this.#receive(message));
    this.#worker.on("error", (cause) => this.#fail(`the engine stopped: ${cause.message}`, cause));
    this.#worker.on("exit", () => this.#fail(CLOSED));
  }

  /** Start an engine. Throws LowrankError("usage") for a device or a number of threads that there is not, and
   * LowrankError("runtime") when the device is not available. */
  static async start(options: Partial<EngineOptions> = {}): Promise<Engine> {
    checkOptions(options);
    // A device chosen by itself should work, even if a little slower.
    const allowFallback = options.device === "auto";
    const engine = new Engine({ device: "cpu", allowFallback, threads: 0, ...options });
    try {
      const { version, device } = await engine.#request("start", engine.options);
      engine.version = version;
      engine.device = device;
    } catch (error) {
      await engine.close();
      throw error;
    }
    return engine;
  }

  /** Multiple to which batches should be padded: 1 where one program serves every length. */
  get lengthMultiple(): number {
    return provider(this.device).dynamicLengths ? 1 : STATIC_LENGTH_MULTIPLE;
  }

  /** The length to build a graph with for batches padded to `length`: the dynamic one where the device
   * allows it. */
  graphLength(length: number): number {
    return provider(this.device).dynamicLengths ? DYNAMIC_LENGTH : length;
  }

  async compile(model: OnnxModel): Promise<Program> {
    const inputs = Object.keys(model.inputs);
    const { program } = await this.#request("compile", {
      bytes: model.bytes,
      inputs,
      outputs: model.outputs,
      weights: Object.keys(model.weights),
    });
    return { id: program, model: { inputs: model.inputs, outputs: model.outputs } };
  }

  /** Run a program. Inputs that are not fed come from the store; fed buffers are copied. */
  run(program: Program, request: Partial<Omit<RunRequest, "program">> = {}): Promise<RunResult> {
    const { feeds = {}, reads = {}, updates = {}, writes = {}, fetch = [] } = request;
    checkFeeds(program, feeds);
    checkFetches(program, fetch);
    const known = Object.entries(feeds).filter(([name]) => name in program.model.inputs);
    return this.#request("run", {
      program: program.id,
      feeds: Object.fromEntries(known),
      reads,
      updates,
      writes,
      fetch,
    });
  }

  /** Keep a tensor under a name. Its buffer is moved to the engine: do not use it afterwards. */
  async put(name: string, tensor: HostTensor): Promise<void> {
    const whole = tensor.data.byteLength === tensor.data.buffer.byteLength;
    const data = whole ? tensor.data : tensor.data.slice();
    await this.#request("put", { name, tensor: { ...tensor, data } }, [data.buffer as ArrayBuffer]);
  }

  /** Name a part of a stored vector. */
  async view(name: string, view: View): Promise<void> {
    await this.#request("view", { name, view });
  }

  /** A copy of a stored tensor. */
  get(name: string): Promise<HostTensor> {
    return this.#request("get", { name });
  }

  /**
   * Make room in the store for `length` trained numbers, with gradient and moments, such that `adamw` can update them; all are
   * zero. False where that is not possible: on another device than the CPU, for more numbers than MAX_STATE_LENGTH, without memory.
   */
  state(names: Readonly<Record<StateVector, string>>, length: number): Promise<boolean> {
    return this.#request("state", { names, length });
  }

  /** A step of AdamW of the state whose parameter has this name. */
  async adamw(parameter: string, factors: AdamWFactors): Promise<void> {
    await this.#request("adamw", { parameter, factors });
  }

  /** Set all elements of stored tensors or views to 0. */
  async zero(names: readonly string[]): Promise<void> {
    await this.#request("zero", { names });
  }

  async remove(names: readonly string[]): Promise<void> {
    await this.#request("remove", { names });
  }

  async release(program: Program): Promise<void> {
    await this.#request("release", { program: program.id });
  }

  /** Stop: what is being computed is finished, requests that wait are refused with LowrankError("runtime"). */
  async close(): Promise<void> {
    this.#gate.shut();
    await this.#last.catch(() => undefined);
    await this.#worker.terminate();
  }

  #request<N extends RequestName>(
    name: N,
    body: Requests[N]["request"],
    transfer: ArrayBuffer[] = [],
  ): Promise<Requests[N]["response"]> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#nextId++;
    try {
      this.#worker.postMessage({ id, name, body } satisfies RequestMessage, transfer);
    } catch (cause) {
      const why = (cause as Error).message;
      return Promise.reject(new LowrankError("runtime", `${name}: ${why}`, { cause }));
    }
    this.#worker.ref();
    const answer = new Promise<Requests[N]["response"]>((resolve, reject) => {
      this.#pending.set(id, { resolve: resolve as (value: unknown) => void, reject });
    });
    this.#last = answer;
    return answer;
  }

  #receive(message: ResponseMessage): void {
    const pending = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if (this.#pending.size === 0) this.#worker.unref();
    if ("error" in message) pending?.reject(new LowrankError("runtime", message.error));
    else pending?.resolve(message.value);
  }

  #fail(message: string, cause?: Error): void {
    this.#unguard();
    this.#failure = new LowrankError("runtime", message, { cause });
    for (const { reject } of this.#pending.values()) reject(this.#failure);
    this.#pending.clear();
  }
}

/** Bytes of a tensor. */
export function sizeBytes({ dtype, shape }: Pick<HostTensor, "dtype" | "shape">): number {
  return sizeOf(shape) * BYTES[dtype];
}

/** Throws LowrankError("usage"). */
function checkOptions(options: Partial<EngineOptions>): void {
  requireOptions("Engine.start", options, {
    device: true,
    allowFallback: true,
    threads: true,
    profile: true,
  });
  const { device = "cpu", threads = 0 } = options;
  if (!DEVICE_CHOICES.includes(device)) {
    const known = DEVICE_CHOICES.join(", ");
    throw new LowrankError("usage", `device: expected one of ${known}, got ${String(device)}.`);
  }
  if (!Number.isInteger(threads) || threads < 0) {
    throw new LowrankError(
      "usage",
      `threads: expected a whole number of at least 0, got ${String(threads)}.`,
    );
  }
}

/** Throws LowrankError("runtime") for an output that the program does not have. */
function checkFetches({ model }: Program, fetch: readonly string[]): void {
  const unknown = fetch.filter((name) => !(name in model.outputs));
  if (unknown.length === 0) return;
  const known = Object.keys(model.outputs).join(", ");
  throw new LowrankError(
    "runtime",
    `fetch: the program has no output ${unknown.join(", ")}. It has: ${known}.`,
  );
}

/** Throws LowrankError("runtime") when a fed tensor does not have the shape that the program expects. */
function checkFeeds({ model }: Program, feeds: RunRequest["feeds"]): void {
  let length: number | undefined;
  for (const [name, { shape, data }] of Object.entries(feeds)) {
    const expected = model.inputs[name]?.shape;
    if (!expected) continue;
    const axis = expected.indexOf(DYNAMIC_LENGTH);
    if (axis !== -1) length ??= shape[axis];
    const resolved = expected.map((dim) => resolveDimension(dim, length));
    if (sameShape(shape, resolved) && data.length === sizeOf(resolved)) continue;
    throw new LowrankError(
      "runtime",
      `input ${name}: expected shape ${formatShape(resolved)}, got ${formatShape(shape)} with ${data.length} values.`,
    );
  }
}

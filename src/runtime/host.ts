/**
 * @file The side that owns ONNX Runtime: sessions, and a store of named tensors (weights, adapters,
 * optimizer state) that live as long as the engine. Runs in a worker thread, because a session blocks
 * its thread while it runs; the importer of onnxruntime, with
 * installation.ts.
 */
import * as ort from "onnxruntime-node";
import { BYTES, zeros, type DType, type TypedArray } from "../graph/dtype.ts";
import { isDynamic } from "../graph/dynamic.ts";
import type { TensorType } from "../graph/node.ts";
import { sizeOf, type Shape } from "../graph/shape.ts";
import { UNREADABLE } from "../onnx/model.ts";
import { MAX_STATE_LENGTH, OptimizerState, STATE_VECTORS } from "./adamw-kernel.ts";
import { resolveDevice } from "./device.ts";
import { installation } from "./installation.ts";
import type {
  Device,
  EngineOptions,
  HostTensor,
  Requests,
  RequestName,
  RunRequest,
  View,
} from "./protocol.ts";

interface Program {
  readonly session: ort.InferenceSession;
  readonly inputs: readonly string[];
  readonly outputs: Readonly<Record<string, TensorType>>;
}

/** A stored tensor. `spare` receives the next value, then the two change places: an update allocates
 * nothing and a run never writes what it reads. */
interface Resident {
  tensor: ort.Tensor;
  spare?: ort.Tensor;
  /** What it is a vector of: it stays where it is. */
  state?: OptimizerState;
}

type Handlers = {
  [N in RequestName]: (
    request: Requests[N]["request"],
  ) => Requests[N]["response"] | Promise<Requests[N]["response"]>;
};

/** ONNX Runtime's options of a session, once the device is known. */
type SessionSettings = Omit<EngineOptions, "device"> & { readonly device: Device };

export function createHost(): Handlers {
  let options: SessionSettings = { device: "cpu", allowFallback: false, threads: 0 };
  const programs = new Map<number, Program>();
  const store = new Map<string, Resident>();
  const views = new Map<string, View>();
  const viewTensors = new WeakMap<ort.Tensor, WeakMap<View, ort.Tensor>>();
  let nextProgram = 0;

  const resident = (name: string): Resident => {
    const found = store.get(name);
    if (!found) {
      throw new Error(
        `no tensor named "${name}" has been given to the engine. Give it first: a model's by loadParameters, before compile.`,
      );
    }
    return found;
  };

  /** The stored tensor or view of this name. */
  const lookUp = (name: string): ort.Tensor => {
    const view = views.get(name);
    if (!view) return resident(name).tensor;
    const base = resident(view.of).tensor;
    const known = viewTensors.get(base) ?? new WeakMap<View, ort.Tensor>();
    viewTensors.set(base, known);
    const tensor = known.get(view) ?? viewTensor(base, view);
    known.set(view, tensor);
    return tensor;
  };

  return {
    async start(request) {
      const device = await resolveDevice(request.device, installation());
      options = { ...request, device };
      return { version: ort.env.versions.node ?? ort.env.versions.common, device };
    },

    async compile({ bytes, inputs, outputs, weights }) {
      const files = weights.map((path) => ({ path, data: bytesOf(lookUp(path)) }));
      const session = await createSession(bytes, options, files);
      programs.set(nextProgram, { session, inputs, outputs });
      return { program: nextProgram++ };
    },

    async release({ program }) {
      if (options.profile !== undefined) programs.get(program)?.session.endProfiling();
      await programs.get(program)?.session.release();
      programs.delete(program);
    },

    put({ name, tensor }) {
      const known = store.get(name);
      if (known?.state && sizeOf(known.tensor.dims) === tensor.data.length) {
        (known.tensor.data as Float32Array).set(tensor.data as Float32Array);
        return;
      }
      views.delete(name);
      store.set(name, { tensor: toOrt(tensor) });
    },

    state({ names, length }) {
      const state = options.device === "cpu" ? makeState(length) : undefined;
      if (!state) return false;
      for (const vector of STATE_VECTORS) {
        views.delete(names[vector]);
        const tensor = makeTensor("float32", state.vectors[vector], [length]);
        store.set(names[vector], { tensor, state });
      }
      return true;
    },

    adamw({ parameter, factors }) {
      const { state } = resident(parameter);
      if (!state) throw new Error(`"${parameter}" is no optimizer's state`);
      state.step(factors);
    },

    view({ name, view }) {
      store.delete(name);
      views.set(name, view);
    },

    get({ name }) {
      return toHost(lookUp(name), true);
    },

    zero({ names }) {
      for (const name of names) (lookUp(name).data as Float32Array).fill(0);
    },

    remove({ names }) {
      for (const name of names) {
        store.delete(name);
        views.delete(name);
      }
    },

    async run(request) {
      const program = programs.get(request.program);
      if (!program) throw new Error("the program has been released");
      const feeds: Record<string, ort.Tensor> = {};
      for (const name of program.inputs) {
        const fed = request.feeds[name];
        feeds[name] = fed ? toOrt(fed) : lookUp(request.reads[name] ?? name);
      }
      const started = performance.now();
      const results = await runInto(program, feeds, buffers(request, resident, lookUp));
      const elapsedMs = performance.now() - started;
      for (const [output, name] of Object.entries(request.updates)) {
        const { tensor } = resident(name);
        store.set(name, { tensor: results[output]!, spare: tensor });
      }
      const outputs: Record<string, HostTensor> = {};
      for (const name of request.fetch) outputs[name] = toHost(results[name]!, false);
      return { outputs, elapsedMs };
    },
  };
}

type Buffers = Record<string, ort.Tensor | null>;

/** What to compute, and into what: a tensor of the store for each update and write, `null` for the rest. */
function buffers(
  { updates, writes, fetch }: RunRequest,
  resident: (name: string) => Resident,
  lookUp: (name: string) => ort.Tensor,
): Buffers {
  const result: Buffers = {};
  for (const name of fetch) result[name] = null;
  for (const [output, name] of Object.entries(updates)) {
    const entry = resident(name);
    result[output] = entry.spare ??= emptyLike(entry.tensor);
  }
  for (const [output, name] of Object.entries(writes)) result[output] = lookUp(name);
  return result;
}

/** What onnxruntime-node says of UNREADABLE, once everything has been computed. */
const UNREADABLE_MESSAGE = "Non tensor type is temporarily not supported.";

/** Run a program and return the outputs that have an entry in `into`. */
async function runInto(
  { session, outputs }: Program,
  feeds: Record<string, ort.Tensor>,
  into: Buffers,
): Promise<Record<string, ort.Tensor>> {
  const isFixed = (name: string): boolean => !outputs[name]!.shape.some(isDynamic);
  const names = Object.keys(into);
  const keeps = names.some((name) => into[name] !== null);
  if (!keeps || !session.outputNames.includes(UNREADABLE) || !names.every(isFixed)) {
    return (await session.run(feeds, into)) as Record<string, ort.Tensor>;
  }
  const filled: Record<string, ort.Tensor> = {};
  for (const name of names) filled[name] = into[name] ?? emptyTensor(outputs[name]!);
  try {
    await session.run(feeds, { [UNREADABLE]: null, ...filled });
  } catch (error) {
    if (!(error instanceof Error && error.message === UNREADABLE_MESSAGE)) throw error;
  }
  return filled;
}

function bytesOf(tensor: ort.Tensor): Uint8Array {
  const { buffer, byteOffset, byteLength } = tensor.data as TypedArray;
  return new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
}

async function createSession(
  bytes: Uint8Array,
  settings: SessionSettings,
  files: readonly { path: string; data: Uint8Array }[],
): Promise<ort.InferenceSession> {
  try {
    return await ort.InferenceSession.create(bytes, {
      ...sessionOptions(settings),
      externalData: [...files],
    });
  } catch (error) {
    if (!(error instanceof Error && error.message.includes(FALLBACK_REFUSED))) throw error;
    throw new Error(
      `device ${settings.device}: ONNX Runtime would compute a part of the graph on the CPU, which is slow. ` +
        "Use another device, or allow the fallback.",
      { cause: error },
    );
  }
}

/** A part of ONNX Runtime's message when "disable_cpu_ep_fallback" has it refuse a session. */
const FALLBACK_REFUSED = "fallback to CPU EP has been explicitly disabled";

function sessionOptions({
  device,
  allowFallback,
  threads,
  profile,
}: SessionSettings): ort.InferenceSession.SessionOptions {
  return {
    executionProviders: [device],
    extra: {
      session: {
        // Moments of rows of an embedding that no batch has decay to such numbers, which are 4 times as slow.
        set_denormal_as_zero: "1",
        ...(device === "cpu" || allowFallback ? {} : { disable_cpu_ep_fallback: "1" }),
      },
    },
    graphOptimizationLevel: "disabled",
    executionMode: "sequential",
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
    // The memory pattern, planned for one block, makes the arena keep 0.8 GB more than a GPT-2 step
    // needs; without the arena every step pays for fresh pages (LOG.md has the numbers).
    enableMemPattern: false,
    ...(profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: profile }),
  };
}

/** Undefined where there is no room. */
function makeState(length: number): OptimizerState | undefined {
  if (length > MAX_STATE_LENGTH) return undefined;
  try {
    return new OptimizerState(length);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function viewTensor(base: ort.Tensor, { offset, shape }: View): ort.Tensor {
  const data = base.data as TypedArray;
  return makeTensor(base.type as DType, data.subarray(offset, offset + sizeOf(shape)), shape);
}

function makeTensor(dtype: DType, data: TypedArray, shape: Shape): ort.Tensor {
  return new ort.Tensor(dtype, data as never, shape);
}

function toOrt({ dtype, data, shape }: HostTensor): ort.Tensor {
  return makeTensor(dtype, data, shape);
}

function emptyLike(tensor: ort.Tensor): ort.Tensor {
  return emptyTensor({ dtype: tensor.type as DType, shape: tensor.dims });
}

function emptyTensor({ dtype, shape }: TensorType): ort.Tensor {
  return makeTensor(dtype, zeros(dtype, sizeOf(shape)), shape);
}

/** `copy`: the store keeps the data, so what leaves must be a copy. */
function toHost(tensor: ort.Tensor, copy: boolean): HostTensor {
  const dtype = tensor.type as DType;
  const data = tensor.data as TypedArray;
  const ownsBuffer = data.byteLength === data.buffer.byteLength;
  const out = copy || !ownsBuffer ? data.slice() : data;
  if (out.byteLength !== sizeOf(tensor.dims) * BYTES[dtype]) throw new Error("size mismatch");
  return { dtype, shape: tensor.dims, data: out };
}

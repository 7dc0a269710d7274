/** @file Entry of the worker thread: answers requests one after the other, in order, until the gate is shut. */
import { parentPort, workerData } from "node:worker_threads";
import { Gate } from "./gate.ts";
import { createHost } from "./host.ts";
import { CLOSED, type HostTensor, type RequestMessage, type ResponseMessage } from "./protocol.ts";

const host = createHost();
const gate = new Gate(workerData as SharedArrayBuffer);
let queue: Promise<void> = Promise.resolve();

parentPort!.on("message", (message: RequestMessage) => {
  queue = queue.then(() => answer(message));
});

async function answer({ id, name, body }: RequestMessage): Promise<void> {
  if (!gate.enter()) return respond({ id, error: CLOSED });
  try {
    const value: unknown = await host[name](body as never);
    respond({ id, value }, transferables(value));
  } catch (error) {
    respond({ id, error: error instanceof Error ? error.message : String(error) });
  } finally {
    gate.leave();
  }
}

function respond(message: ResponseMessage, transfer: ArrayBuffer[] = []): void {
  parentPort!.postMessage(message, transfer);
}

/** The buffers of the tensors in a response. */
function transferables(value: unknown): ArrayBuffer[] {
  if (typeof value !== "object" || value === null) return [];
  if ("data" in value) return [(value as HostTensor).data.buffer as ArrayBuffer];
  if (!("outputs" in value)) return [];
  const outputs = Object.values((value as { outputs: Record<string, HostTensor> }).outputs);
  return [...new Set(outputs.map((tensor) => tensor.data.buffer as ArrayBuffer))];
}

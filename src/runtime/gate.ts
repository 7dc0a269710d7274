/** @file A gate between an engine's two threads: a thread that is ended while ONNX Runtime computes in it ends the whole process
 * ("terminate called after throwing an instance of 'Napi::Error'"). The worker passes the gate for each request; who wants to end
 * it shuts the gate first and waits until nobody is inside. */

const IS_SHUT = 0;
const IS_INSIDE = 1;

/** Longest that the end of a process waits for a computation. */
const EXIT_WAIT_MS = 30_000;

export class Gate {
  /** What the threads share. */
  readonly memory: SharedArrayBuffer;
  readonly #state: Int32Array;

  constructor(memory = new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT)) {
    this.memory = memory;
    this.#state = new Int32Array(memory);
  }

  /** Go in; false where the gate is shut. */
  enter(): boolean {
    // In this order: whoever shuts the gate meanwhile sees that somebody is inside.
    Atomics.store(this.#state, IS_INSIDE, 1);
    if (Atomics.load(this.#state, IS_SHUT) === 0) return true;
    this.leave();
    return false;
  }

  leave(): void {
    Atomics.store(this.#state, IS_INSIDE, 0);
    Atomics.notify(this.#state, IS_INSIDE);
  }

  /** Let nobody in from now on. */
  shut(): void {
    Atomics.store(this.#state, IS_SHUT, 1);
  }

  /** Block this thread until nobody is inside. */
  waitUntilEmpty(timeoutMs: number): void {
    Atomics.wait(this.#state, IS_INSIDE, 1, timeoutMs);
  }
}

/** The gates of all running engines. There is one process, hence one list of what its end has to wait for. */
const running = new Set<Gate>();

function shutAll(): void {
  for (const gate of running) gate.shut();
  for (const gate of running) gate.waitUntilEmpty(EXIT_WAIT_MS);
}

/** Have the end of the process (process.exit, an error that nobody catches) wait for a computation. Returns how to stop that. */
export function guardExit(gate: Gate): () => void {
  if (running.size === 0) process.on("exit", shutAll);
  running.add(gate);
  return () => {
    if (running.delete(gate) && running.size === 0) process.off("exit", shutAll);
  };
}

/** @file Ctrl-C: the first asks to stop and save, the second ends the process. */
import { LowrankError } from "../errors.ts";
import { note } from "./terminal.ts";

/** What a supervisor sends (SIGTERM) means the same as Ctrl-C (SIGINT). */
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** The longest time that cleaning up may take after the second Ctrl-C. */
const DISCARD_MS = 2_000;

export interface Interrupt {
  /** Aborted by the first Ctrl-C. */
  readonly signal: AbortSignal;
  /** Cleans up at the second; set when there is something to clean up. */
  discard: () => Promise<void>;
  /** Throws LowrankError("training") after a Ctrl-C before there was anything to save. */
  throwIfInterrupted(): void;
  /** Leave signals to the system again. */
  stop(): void;
}

/** What the first Ctrl-C is answered with where nothing else is said. */
const SAVING = "\nFinishing this step, then saving. Press Ctrl-C again to end without saving.";

export function onInterrupt(answer: string = SAVING): Interrupt {
  const controller = new AbortController();
  const interrupt: Interrupt = {
    signal: controller.signal,
    discard: async () => {},
    throwIfInterrupted() {
      if (!controller.signal.aborted) return;
      throw new LowrankError("training", "interrupted before the first step, nothing was saved.");
    },
    stop() {
      for (const name of SIGNALS) process.removeListener(name, handle);
    },
  };
  const handle = (name: NodeJS.Signals): void => {
    if (!controller.signal.aborted) {
      note(answer);
      controller.abort();
      return;
    }
    interrupt.stop();
    const deadline = new Promise((resolve) => setTimeout(resolve, DISCARD_MS));
    void Promise.race([interrupt.discard(), deadline]).finally(() =>
      process.kill(process.pid, name),
    );
  };
  for (const name of SIGNALS) process.on(name, handle);
  return interrupt;
}

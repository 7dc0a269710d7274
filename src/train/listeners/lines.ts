/** @file Training as plain lines of text, for logs and pipes. */
import type { Listener } from "../events.ts";

export interface LinesOptions {
  /** Steps between lines; default: about twenty lines a run. */
  readonly every?: number;
}

/** A listener that writes a line for what matters: start, every few steps, evaluations, end. */
export declare function lines(write: (line: string) => void, options?: LinesOptions): Listener;

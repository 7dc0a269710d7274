/** @file Training as JSON lines: metrics.jsonl in the output directory. */
import { appendFileSync } from "node:fs";
import type { Listener } from "../events.ts";

export const METRICS_FILE = "metrics.jsonl";

/** A listener that appends every event to a file, one JSON object a line; progress within an evaluation
 * is left out. When the file cannot be written it gives up: the run matters more. */
export function jsonLines(file: string): Listener {
  let failed = false;
  return (event) => {
    if (failed || event.type === "evaluating") return;
    try {
      appendFileSync(file, `${JSON.stringify(event)}\n`);
    } catch {
      failed = true;
    }
  };
}

/** @file What the commands have in common that train many times: the options of training, and how they show their trials. */
import type { Trial, TrialResult } from "../../experiments/trials.ts";
import { formatSeconds } from "../../train/listeners/lines.ts";
import { trainOptionsSchema } from "../../train/options.ts";
import { note } from "../terminal.ts";

const { output: _output, overwrite: _overwrite, ...shape } = trainOptionsSchema.shape;

/** The options of training that trials share. */
export const trialShape = shape;

/** This program, as a command that a process runs. */
export const thisProgram = (): [string, ...string[]] => [
  process.execPath,
  ...process.execArgv,
  process.argv[1]!,
];

/** What Ctrl-C does to trials. */
export const TRIALS_INTERRUPTED =
  "\nEnding the trials that run. Those that are done stay; press Ctrl-C again to end at once.";

/** Lines about trials as they begin and end. */
export function trialProgress(
  metric: string,
  total?: number,
): {
  onStart: (trial: Trial) => void;
  onResult: (result: TrialResult, isNew: boolean) => void;
} {
  let count = 0;
  const of = (): string => (total === undefined ? "" : ` (${++count} of ${total})`);
  return {
    onStart: ({ id }) => note(`${id}${of()} …`),
    onResult: ({ id, error, metrics, testMetrics, seconds }, isNew) => {
      const value = (testMetrics ?? metrics)[metric];
      const measured = value === undefined ? "" : `${metric} ${value.toFixed(4)}, `;
      const outcome =
        error === undefined ? `${measured}${formatSeconds(seconds)}` : `failed: ${error}`;
      note(`${id}${isNew ? "" : of()}: ${outcome}${isNew ? "" : " (done before)"}`);
    },
  };
}

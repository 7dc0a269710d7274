/** @file A training run at the command line, new or gone on with: a progress bar, Ctrl-C, and a result that says how to use it. */
import { accessSync, constants, existsSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { LowrankError } from "../../errors.ts";
import { printGraph } from "../../graph/print.ts";
import { ioError } from "../../io/io-errors.ts";
import type { Listener, StartedEvent, TrainResult } from "../../train/events.ts";
import { formatSeconds, lines } from "../../train/listeners/lines.ts";
import type { Hooks, Trainer } from "../../train/trainer.ts";
import { STATE_FILE } from "../../train/training-state.ts";
import { onInterrupt } from "../interrupt.ts";
import { kebabCase } from "../options.ts";
import { progressBar } from "../progress-bar.ts";
import {
  alignRows,
  formatBytes,
  isRedrawable,
  note,
  print,
  printJson,
  shellWord,
} from "../terminal.ts";

/** Flags of every run. */
export const runFlags = {
  dumpGraph: z
    .string()
    .min(1)
    .optional()
    .describe("File to write the graph of a training step to, as text (of the first batch shape)"),
  quiet: z.boolean().default(false).describe("Show no progress"),
  json: z.boolean().default(false).describe("Print the result as one JSON document"),
} as const;

interface RunOptions {
  readonly dumpGraph: string | undefined;
  readonly quiet: boolean;
  readonly json: boolean;
  readonly output: string;
}

/** Train with the trainer that `create` makes, until it has finished or is interrupted. Throws LowrankError. */
export async function runTraining(
  { dumpGraph, quiet, json, output }: RunOptions,
  create: (hooks: Hooks) => Promise<Trainer>,
): Promise<void> {
  if (dumpGraph !== undefined) checkGraphFile(dumpGraph);
  const interrupt = onInterrupt();
  try {
    const trainer = await create(
      dumpGraph === undefined
        ? {}
        : { onGraph: onceComplete((graph) => writeGraph(dumpGraph, graph)) },
    );
    let training: Promise<TrainResult> | undefined;
    interrupt.discard = async () => {
      await Promise.allSettled([trainer.close(), training]);
    };
    try {
      interrupt.throwIfInterrupted();
      let started: StartedEvent | undefined;
      trainer.on((event) => {
        if (event.type === "started") started = event;
      });
      trainer.on(quiet ? warnings() : progress());
      training = trainer.train({ signal: interrupt.signal });
      const result = await training;
      if (json) printJson(asJson(result, started!));
      else print(summary(result, started!, output, trainer.task.fields));
    } finally {
      await trainer.close();
    }
  } finally {
    interrupt.stop();
  }
}

/** What is wrong with the data or the options is no progress. */
function warnings(): Listener {
  const listener = lines(note);
  return (event) => {
    if (event.type === "warning") listener(event);
  };
}

function progress(): Listener {
  const listener = isRedrawable(process.stderr) ? progressBar(process.stderr) : lines(note);
  return (event) => {
    // The error itself is shown at the end.
    if (event.type !== "failed" && event.type !== "finished") listener(event);
  };
}

type Graph = Parameters<typeof printGraph>[0];

/** The first graph of a whole step: with accumulation, others only leave gradients. */
function onceComplete(write: (graph: Graph) => void): (graph: Graph) => void {
  let isWritten = false;
  return (graph) => {
    if (isWritten || !("grad_norm" in graph.outputs)) return;
    write(graph);
    isWritten = true;
  };
}

/** Before anything is loaded. Throws LowrankError("io"). */
function checkGraphFile(file: string): void {
  const existing = statSync(file, { throwIfNoEntry: false });
  if (existing?.isDirectory()) {
    throw new LowrankError(
      "io",
      `${file}: expected a file to write the graph to, got a directory.`,
    );
  }
  const place = existing ? file : dirname(file);
  try {
    accessSync(place, constants.W_OK);
  } catch (error) {
    throw ioError(place, existing ? "write the graph" : `write ${basename(file)} into it`, error);
  }
}

function writeGraph(file: string, graph: Graph): void {
  try {
    writeFileSync(file, printGraph(graph));
  } catch (error) {
    throw ioError(file, "write the graph", error);
  }
}

function asJson(result: TrainResult, started: StartedEvent): unknown {
  const { type: _type, ...run } = started;
  return { ...run, peakMemoryBytes: 1024 * process.resourceUsage().maxRSS, result };
}

function summary(
  result: TrainResult,
  started: StartedEvent,
  output: string,
  fields: readonly string[],
): string {
  const { reason, steps, seconds, keptStep, metrics, trainLoss } = result;
  const scalars = Object.entries(metrics?.scalars ?? {}).map(
    ([name, value]) => [`validation ${name}`, value.toFixed(4)] as const,
  );
  const why = reason === "completed" ? "" : ` (${reason})`;
  const inputs = fields.map((field) => `--${kebabCase(field)} "..."`).join(" ");
  return [
    alignRows([
      [started.saves, `${output} (${formatBytes(started.storedBytes)}), of step ${keptStep}`],
      ["trained", `${steps} of ${started.totalSteps} steps in ${formatSeconds(seconds)}${why}`],
      ["training loss", trainLoss.toFixed(4)],
      ...scalars,
    ]),
    "",
    `Use it:  lowrank predict --adapter ${shellWord(output)} ${inputs}`,
    `         lowrank evaluate --adapter ${shellWord(output)} --data FILE`,
    ...(existsSync(join(output, STATE_FILE))
      ? [`Go on:   lowrank resume --from ${shellWord(output)}`]
      : []),
  ].join("\n");
}

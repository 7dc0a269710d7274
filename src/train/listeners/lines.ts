/** @file Training as plain lines of text, for logs and pipes. */
import { formatBytes, plural } from "../../format.ts";
import type { Listener, StartedEvent, StepEvent, TrainingEvent, TrainResult } from "../events.ts";
import type { Metrics } from "../../tasks/task.ts";

export interface LinesOptions {
  /** Steps between lines; default: LINES_PER_RUN lines a run. */
  readonly every?: number;
}

const LINES_PER_RUN = 20;

/** A listener that writes a line for what matters: start, every few steps, evaluations, end. */
export function lines(write: (line: string) => void, options: LinesOptions = {}): Listener {
  return (event) => {
    if (event.type === "step") {
      const every = options.every ?? Math.ceil(event.totalSteps / LINES_PER_RUN);
      if (event.step % every === 0 || event.step === event.totalSteps) write(stepLine(event));
      return;
    }
    for (const line of eventLines(event)) write(line);
  };
}

/** The lines of an event other than a step; none for progress within an evaluation. */
export function eventLines(event: Exclude<TrainingEvent, StepEvent>): string[] {
  switch (event.type) {
    case "started":
      return startedLines(event);
    case "evaluating":
      return [];
    case "evaluated":
      return [
        `evaluation at step ${event.step}: ${formatScalars(event.metrics)}${event.isBest ? " (best so far)" : ""}`,
      ];
    case "warning":
      return [`warning: ${event.message}`];
    case "stopping":
      return [`stopping: ${event.message}`];
    case "saved":
      return [`saved step ${event.step} in ${event.directory}`];
    case "failed":
      return [`failed: ${event.message}`];
    case "finished":
      return [finishedLine(event.result)];
  }
}

/** E.g. "step 20/96, epoch 0.63: loss 0.1234, gradient 0.81, rate 4.2e-4, 5120 tokens/s, 0:42 left". */
export function stepLine(event: StepEvent): string {
  const { step, totalSteps, epoch, loss, gradNorm, learningRate } = event;
  return (
    `step ${step}/${totalSteps}, epoch ${epoch.toFixed(2)}: loss ${loss.toFixed(4)}, ` +
    `gradient ${gradNorm.toPrecision(3)}, rate ${learningRate.toExponential(1)}, ` +
    `${Math.round(event.tokensPerSecond)} tokens/s, ${formatSeconds(event.remainingSeconds)} left`
  );
}

/** E.g. "loss 0.0613, accuracy 0.9733, macroF1 0.9733". */
export function formatScalars({ scalars }: Metrics): string {
  return Object.entries(scalars)
    .map(([name, value]) => `${name} ${value.toFixed(4)}`)
    .join(", ");
}

/** E.g. "0:07", "12:30", "1:02:03". */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours > 0
    ? `${hours}:${two(minutes)}:${two(whole % 60)}`
    : `${minutes}:${two(whole % 60)}`;
}

const two = (value: number): string => String(value).padStart(2, "0");

/** E.g. "22,713,216". */
const count = (value: number): string => value.toLocaleString("en-US");

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function startedLines(event: StartedEvent): string[] {
  const continued = event.stepsBefore === 0 ? "" : `going on after step ${event.stepsBefore}, `;
  const cut = event.truncated === 0 ? "no text" : plural(event.truncated, "text");
  return [
    `model: ${event.model} (${event.modelType}), ${count(event.parameters)} parameters, ` +
      `${count(event.trainableParameters)} trained (${percent(event.trainableParameters / event.parameters)}), ` +
      `${event.saves} ${formatBytes(event.storedBytes)}`,
    `data: ${event.trainExamples} training and ${event.validationExamples} validation examples, ` +
      `${cut} cut at ${event.maxLength} tokens, ${percent(event.paddingShare)} padding`,
    `task: ${event.task}${describe(event.taskDetails)}`,
    `training: ${plural(event.totalSteps, "step")}, ${plural(Number(event.epochs.toFixed(2)), "epoch")}, ${continued}on ${event.device}, ` +
      `about ${(event.memoryBytes / 1e9).toFixed(1)} GB of memory`,
  ];
}

/** Details as text: lists up to ten entries. */
function describe(details: StartedEvent["taskDetails"]): string {
  return Object.entries(details)
    .map(([name, value]) => {
      if (!Array.isArray(value)) return `, ${name} ${JSON.stringify(value)}`;
      const more = value.length > 10 ? `, … (${value.length})` : "";
      return `, ${name} ${value.slice(0, 10).join(", ")}${more}`;
    })
    .join("");
}

function finishedLine(result: TrainResult): string {
  const metrics = result.metrics ? `: ${formatScalars(result.metrics)}` : "";
  return (
    `finished (${result.reason}) after ${plural(result.steps, "step")} in ${formatSeconds(result.seconds)}, ` +
    `kept step ${result.keptStep}${metrics}`
  );
}

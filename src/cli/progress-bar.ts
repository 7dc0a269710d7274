/** @file Progress on a terminal: one line that is drawn anew, and lines above it for what stays. */
import type { Progress } from "../train/evaluate.ts";
import type { EvaluatingEvent, Listener, StepEvent } from "../train/events.ts";
import { eventLines, formatSeconds } from "../train/listeners/lines.ts";
import { formatCount, isRedrawable, styled } from "./terminal.ts";

const REDRAW_MS = 100;
const BAR_WIDTH = 24;
/** Of a narrow terminal's line; the rest is for the numbers. */
const BAR_SHARE = 1 / 3;
/** The shown loss is a moving mean: that of single batches jumps. */
const SMOOTHING = 0.9;

/** What `work` comes to, with a bar on stderr while it computes, where that is a terminal; nothing stays of the bar. */
export async function withProgress<T>(
  work: (progress?: Progress) => Promise<T>,
  stream: NodeJS.WriteStream = process.stderr,
): Promise<T> {
  if (!isRedrawable(stream)) return work();
  const { draw, clear } = redrawnLine(stream);
  try {
    return await work((done, total) => draw(computedText(stream, { done, total }), done === total));
  } finally {
    clear();
  }
}

/** A line that is drawn again and again, not too often. */
export function redrawnLine(stream: NodeJS.WriteStream) {
  let drawnAt = 0;
  let isDrawn = false;
  return {
    draw(text: string, always: boolean): void {
      const now = Date.now();
      if (!always && now - drawnAt < REDRAW_MS) return;
      drawnAt = now;
      stream.write(`\r\u001B[K${text}`);
      isDrawn = true;
    },
    clear(): void {
      if (isDrawn) stream.write("\r\u001B[K");
      isDrawn = false;
    },
  };
}

/** A listener that draws a bar with loss, speed and time left. */
export function progressBar(stream: NodeJS.WriteStream): Listener {
  const { draw, clear } = redrawnLine(stream);
  let smoothed = 0;
  let weight = 0;

  return (event) => {
    if (event.type === "step") {
      smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * event.loss;
      weight = SMOOTHING * weight + (1 - SMOOTHING);
      draw(stepText(stream, event, smoothed / weight), event.step === event.totalSteps);
    } else if (event.type === "evaluating") {
      draw(computedText(stream, event, "evaluating "), event.done === event.total);
    } else {
      clear();
      for (const line of eventLines(event)) {
        stream.write(`${event.type === "warning" ? styled(stream, "yellow", line) : line}\n`);
      }
    }
  };
}

function stepText(stream: NodeJS.WriteStream, event: StepEvent, loss: number): string {
  const { step, totalSteps, tokensPerSecond, remainingSeconds } = event;
  return line(stream, step / totalSteps, [
    `${step}/${totalSteps}`,
    `loss ${loss.toFixed(4)}`,
    `${formatCount(tokensPerSecond)} tokens/s`,
    `${formatSeconds(remainingSeconds)} left`,
  ]);
}

function computedText(
  stream: NodeJS.WriteStream,
  { done, total }: Pick<EvaluatingEvent, "done" | "total">,
  what = "",
): string {
  return line(stream, done / total, [`${what}${done}/${total}`]);
}

/** The bar and as many parts as fit. */
function line(stream: NodeJS.WriteStream, share: number, parts: readonly string[]): string {
  const columns = stream.columns || 80;
  const width = Math.min(BAR_WIDTH, Math.floor(BAR_SHARE * columns));
  const filled = Math.round(share * width);
  const room = columns - width - 1;
  let text = "";
  for (const part of parts) {
    if (text.length + part.length + 2 > room) break;
    text += `  ${part}`;
  }
  const done = styled(stream, "cyan", "━".repeat(filled));
  return `${done}${styled(stream, "dim", "─".repeat(width - filled))}${text}`;
}

import { describe, expect, it } from "vitest";
import type { StartedEvent, StepEvent, TrainingEvent } from "../events.ts";
import { eventLines, formatSeconds, lines } from "./lines.ts";

const step = (number: number): StepEvent => ({
  type: "step",
  step: number,
  totalSteps: 100,
  epoch: number / 50,
  loss: 0.51234,
  gradNorm: 1.2345,
  learningRate: 4.2e-4,
  tokens: 256,
  tokensPerSecond: 1234.5,
  remainingSeconds: 61,
});

describe("lines", () => {
  it("writes about twenty step lines a run, and the last", () => {
    const written: string[] = [];
    const listener = lines((line) => written.push(line));
    for (let number = 1; number <= 100; number++) listener(step(number));
    expect(written).toHaveLength(20);
    expect(written[0]).toBe(
      "step 5/100, epoch 0.10: loss 0.5123, gradient 1.23, rate 4.2e-4, 1235 tokens/s, 1:01 left",
    );
  });

  it("writes a line for each other event", () => {
    const written: string[] = [];
    const metrics = { scalars: { loss: 0.25, accuracy: 1 }, details: {} };
    const result = {
      reason: "completed",
      steps: 100,
      epochs: 2,
      seconds: 75,
      tokens: 1,
      trainLoss: 0.1,
      keptStep: 50,
      metrics,
    } as const;
    const events: TrainingEvent[] = [
      { type: "evaluating", step: 50, done: 1, total: 2 },
      { type: "evaluated", step: 50, epoch: 1, metrics, isBest: true, seconds: 1 },
      { type: "warning", message: "look" },
      { type: "saved", directory: "out", step: 50 },
      { type: "finished", result },
    ];
    for (const event of events) lines((line) => written.push(line))(event);
    expect(written).toEqual([
      "evaluation at step 50: loss 0.2500, accuracy 1.0000 (best so far)",
      "warning: look",
      "saved step 50 in out",
      "finished (completed) after 100 steps in 1:15, kept step 50: loss 0.2500, accuracy 1.0000",
    ]);
  });
});

it("counts what there is one of", () => {
  const started: StartedEvent = {
    type: "started",
    model: "m",
    modelType: "bert",
    task: "sequence-classification",
    taskDetails: {},
    device: "cpu",
    stepsBefore: 0,
    totalSteps: 1,
    epochs: 1,
    truncated: 1,
    maxLength: 32,
    paddingShare: 0,
    trainExamples: 8,
    validationExamples: 0,
    parameters: 10,
    trainableParameters: 1,
    saves: "adapter",
    storedBytes: 4,
    memoryBytes: 1e8,
    method: "lora",
  };
  const written = eventLines(started).join("\n");
  expect(written).toContain("validation examples, 1 text cut at 32 tokens");
  expect(written).toContain("training: 1 step, 1 epoch, on cpu");
});

describe("formatSeconds", () => {
  it("shows hours only where there are some", () => {
    expect([7, 750, 3723.4].map(formatSeconds)).toEqual(["0:07", "12:30", "1:02:03"]);
  });
});

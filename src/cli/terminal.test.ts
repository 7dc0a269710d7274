import { expect, it, vi } from "vitest";
import type { StepEvent, TrainingEvent } from "../train/events.ts";
import { progressBar, withProgress } from "./progress-bar.ts";
import { nearest } from "./suggest.ts";
import {
  alignRows,
  formatBytes,
  formatCount,
  formatShare,
  formatTable,
  hasColors,
} from "./terminal.ts";

it("formats numbers for people", () => {
  expect([0, 999, 1_500, 45_363_200].map(formatBytes)).toEqual([
    "0 B",
    "999 B",
    "1.5 kB",
    "45.4 MB",
  ]);
  expect(formatCount(22_713_216)).toBe("22,713,216");
  expect([0.0123, 0.5].map(formatShare)).toEqual(["1.23 %", "50.0 %"]);
});

it("aligns columns, numbers to the right with like decimals", () => {
  const rows = [
    ["label", "F1", "examples"],
    ["a", 1, 1200],
    ["bcd", 0.25, 7],
  ];
  expect(alignRows(rows, "  ")).toBe(
    ["  label      F1  examples", "  a      1.0000     1,200", "  bcd    0.2500         7"].join(
      "\n",
    ),
  );
});

it("keeps a name on its line, and a table's long ones short", () => {
  expect(alignRows([["a\nb\tc\u001B[31m", "d"]])).toBe("a\\nb\\tc\\u001b[31m  d");
  const long = `${"first ".repeat(9)}${"last ".repeat(9)}!`;
  const table = formatTable({ title: "T", columns: ["label"], rows: [[long]] });
  expect(table).toBe(`T\n  label\n  ${long.slice(0, 24)}…${long.slice(-23)}`);
});

it("finds near names", () => {
  expect(nearest("bacth-size", ["batch-size", "epochs", "seed"])).toEqual(["batch-size"]);
  expect(nearest("num-epochs", ["epochs", "steps"])).toEqual(["epochs"]);
  expect(nearest("xyz", ["epochs", "batch-size"])).toEqual([]);
});

/** A stream that remembers; no terminal, so no colours. */
function fakeTerminal(
  columns: number,
  isTTY = false,
): { stream: NodeJS.WriteStream; text(): string } {
  let text = "";
  const stream = { columns, isTTY, write: (part: string) => (text += part) };
  return { stream: stream as unknown as NodeJS.WriteStream, text: () => text };
}

const step: StepEvent = {
  type: "step",
  step: 12,
  totalSteps: 12,
  epoch: 1,
  loss: 0.25,
  gradNorm: 1,
  learningRate: 1e-3,
  tokens: 100,
  tokensPerSecond: 5120.4,
  remainingSeconds: 42,
};
const warning: TrainingEvent = { type: "warning", message: "look" };

it("draws progress on one line and keeps what matters above it", () => {
  const { stream, text } = fakeTerminal(80);
  const listener = progressBar(stream);
  listener(step);
  listener(warning);
  const bar = "━".repeat(24);
  expect(text()).toBe(
    `\r\u001B[K${bar}  12/12  loss 0.2500  5,120 tokens/s  0:42 left\r\u001B[Kwarning: look\n`,
  );
});

it("leaves out what does not fit", () => {
  const { stream, text } = fakeTerminal(40);
  progressBar(stream)(step);
  expect(text()).toMatch(/K━{13} {2}12\/12 {2}loss 0\.2500$/);
});

it.each([
  { isTTY: false, env: {}, colors: false },
  { isTTY: true, env: {}, colors: true },
  { isTTY: true, env: { NO_COLOR: "1" }, colors: false },
  { isTTY: true, env: { TERM: "dumb" }, colors: false },
  { isTTY: false, env: { FORCE_COLOR: "1" }, colors: true },
  { isTTY: true, env: { FORCE_COLOR: "0" }, colors: false },
])("shows colours on terminals, or as it is told: %o", ({ isTTY, env, colors }) => {
  const unset = { NO_COLOR: undefined, FORCE_COLOR: undefined, TERM: "xterm" };
  for (const [name, value] of Object.entries({ ...unset, ...env })) vi.stubEnv(name, value);
  expect(hasColors(fakeTerminal(80, isTTY).stream)).toBe(colors);
  vi.unstubAllEnvs();
});

it("draws nothing anew where the terminal does not know how to", async () => {
  const { stream, text } = fakeTerminal(80, true);
  vi.stubEnv("TERM", "dumb");
  expect(await withProgress(work, stream)).toBe("result");
  expect(text()).toBe("");
  vi.unstubAllEnvs();
});

async function work(progress?: (done: number, total: number) => void): Promise<string> {
  progress?.(8, 16);
  progress?.(16, 16);
  return "result";
}

it("shows how far a computation is on a terminal alone, and leaves nothing of it", async () => {
  const pipe = fakeTerminal(80);
  expect(await withProgress(work, pipe.stream)).toBe("result");
  expect(pipe.text()).toBe("");
  const terminal = fakeTerminal(80, true);
  vi.stubEnv("NO_COLOR", "1");
  vi.stubEnv("FORCE_COLOR", undefined);
  vi.stubEnv("TERM", "xterm");
  expect(await withProgress(work, terminal.stream)).toBe("result");
  expect(terminal.text().split("\r\u001B[K")).toEqual([
    "",
    `${"━".repeat(12)}${"─".repeat(12)}  8/16`,
    `${"━".repeat(24)}  16/16`,
    "",
  ]);
  vi.unstubAllEnvs();
  const failing = withProgress(() => Promise.reject(new Error("no")), terminal.stream);
  await expect(failing).rejects.toThrow("no");
});

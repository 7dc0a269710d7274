/** @file Running this program, or another one, as a process of its own: its standard output, and its messages in a file. */
import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { finished } from "node:stream/promises";
import { text as readAll } from "node:stream/consumers";
import type { z } from "zod";
import { LowrankError } from "../errors.ts";
import { listIssues } from "../format.ts";
import { parseJson } from "../io/json.ts";

/** Program and arguments. */
export type CommandLine = readonly [string, ...string[]];

export interface EndedProcess {
  readonly stdout: string;
  /** null where a signal ended it. */
  readonly code: number | null;
  /** The last lines that it wrote to standard error. */
  readonly messages: readonly string[];
}

const KEPT_MESSAGES = 5;

/** Run a process to its end, or until the signal is aborted; what it says is appended to the file `log`. */
export async function runProcess(
  [program, ...given]: CommandLine,
  log: string,
  signal?: AbortSignal,
): Promise<EndedProcess> {
  const child = spawn(program, given, {
    stdio: ["ignore", "pipe", "pipe"],
    // The keyboard's Ctrl-C reaches the whole group: processes end when the signal says so.
    detached: true,
  });
  const stop = (): void => void child.kill("SIGKILL");
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted) stop();
  const file = createWriteStream(log, { flags: "a" });
  const messages: string[] = [];
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    file.write(text);
    messages.push(...text.split("\n").filter((line) => line.trim() !== ""));
    messages.splice(0, messages.length - KEPT_MESSAGES);
  });
  try {
    const [stdout, code] = await Promise.all([
      readAll(child.stdout),
      new Promise<number | null>((resolve, reject) => {
        child.once("error", reject).once("close", resolve);
      }),
    ]);
    return { stdout, code, messages };
  } finally {
    signal?.removeEventListener("abort", stop);
    await finished(file.end());
  }
}

/** The JSON document that a process printed. Throws LowrankError("training") for anything else. */
export function documentOf<T>({ stdout }: EndedProcess, schema: z.ZodType<T>): T {
  const json = parseJson(stdout);
  const parsed = schema.safeParse("value" in json ? json.value : undefined);
  if (parsed.success) return parsed.data;
  throw new LowrankError(
    "training",
    `the process ended without the result that --json prints: ${listIssues(parsed.error)}.`,
  );
}

/** Why a process failed, in its own words where it had some. */
export function complaintOf({ messages, code }: EndedProcess): string {
  const said = messages.findLast((line) => line.startsWith("lowrank:")) ?? messages.at(-1);
  return said?.replace(/^lowrank: /, "") ?? `the process ended with code ${code}`;
}

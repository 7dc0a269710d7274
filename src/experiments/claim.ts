/** @file The directory of an experiment is its own: the plan is written into it, and only the same plan goes on there. */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { LowrankError } from "../errors.ts";
import { readJson, writeFileAtomic } from "../io/files.ts";
import type { Configuration } from "./space.ts";

export interface Claim {
  /** Name of the plan's file in the directory. */
  readonly file: string;
  /** What the experiment is called in messages: "sweep". */
  readonly what: string;
  /** Everything that decides which trials there are, as plain JSON. */
  readonly plan: object;
}

/**
 * Make a directory an experiment's, or check that it is already.
 * Throws LowrankError("usage") when it holds something else.
 */
export async function claimDirectory(
  directory: string,
  { file: name, what, plan }: Claim,
): Promise<void> {
  const file = join(directory, name);
  const text = `${JSON.stringify(plan, null, 2)}\n`;
  if (existsSync(file)) {
    const stored = await readJson(file, `${what}'s plan`);
    if (JSON.stringify(stored) === JSON.stringify(JSON.parse(text))) return;
    throw new LowrankError(
      "usage",
      `${directory}: holds another ${what} (${name} differs). Repeat its command to go on with it, or choose another directory.`,
    );
  }
  if (existsSync(directory)) {
    throw new LowrankError(
      "usage",
      `${directory}: the directory exists and holds no ${what}. Choose another one.`,
    );
  }
  await mkdir(directory, { recursive: true });
  await writeFileAtomic(file, text);
}

/** The options that have a value, as a plan holds them: JSON knows no undefined. */
export const givenOptions = (options: object): Configuration =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

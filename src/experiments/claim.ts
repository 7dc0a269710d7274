/** @file The directory of an experiment is its own: the plan is written into it, and only the same plan goes on there. */
import { existsSync } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { LowrankError } from "../errors.ts";
import { listFirst } from "../format.ts";
import { readJson, writeFileAtomic } from "../io/files.ts";
import { ioError } from "../io/io-errors.ts";
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
 * Throws LowrankError("usage") when it holds something else, and then says what differs.
 */
export async function claimDirectory(
  directory: string,
  { file: name, what, plan }: Claim,
): Promise<void> {
  const file = join(directory, name);
  const text = `${JSON.stringify(plan, null, 2)}\n`;
  if (existsSync(file)) {
    const stored = await readJson(file, `${what}'s plan`);
    const different = differences(stored as Plan, JSON.parse(text) as Plan);
    if (different.length === 0) return;
    throw new LowrankError(
      "usage",
      `${directory}: holds another ${what} (${name}): ${listFirst(different, MOST_DIFFERENCES, "; ")}. ` +
        "Repeat its command to go on with it, or choose another directory.",
    );
  }
  try {
    await mkdir(directory, { recursive: true });
    if ((await readdir(directory)).length === 0) return await writeFileAtomic(file, text);
  } catch (error) {
    throw ioError(directory, `write the ${what} into it`, error);
  }
  throw new LowrankError(
    "usage",
    `${directory}: the directory exists and holds no ${what}. Choose another one.`,
  );
}

type Plan = Readonly<Record<string, unknown>>;

/** What a plan has otherwise than the stored one: "seeds was [1,2], is [1,2,3]". */
function differences({ base: oldBase, ...old }: Plan, { base: newBase, ...now }: Plan): string[] {
  const [stored, asked] = [
    { ...old, ...(oldBase as Plan) },
    { ...now, ...(newBase as Plan) },
  ] as [Plan, Plan];
  return [...new Set([...Object.keys(stored), ...Object.keys(asked)])].flatMap((key) => {
    const [before, after] = [stored, asked].map((plan) => valueText(plan[key]));
    return before === after ? [] : [`${key} was ${shorten(before!)}, is ${shorten(after!)}`];
  });
}

const valueText = (value: unknown): string =>
  value === undefined ? "not given" : JSON.stringify(value);

const MOST_DIFFERENCES = 4;
const MAX_SHOWN = 60;

const shorten = (text: string): string =>
  text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;

/** The options that have a value, as a plan holds them: JSON knows no undefined. */
export const givenOptions = (options: object): Configuration =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

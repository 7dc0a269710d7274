/** @file The directory of an experiment is its own: the plan is written into it, and only the same plan goes on there, or one that
 * has the same trials and others. */
import { existsSync } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { LowrankError } from "../errors.ts";
import { listFirst } from "../format.ts";
import { readJsonAs, writeFileAtomic } from "../io/files.ts";
import { ioError } from "../io/io-errors.ts";
import type { Configuration } from "./space.ts";

export interface Claim {
  /** Name of the plan's file in the directory. */
  readonly file: string;
  /** What the experiment is called in messages: "sweep". */
  readonly what: string;
  /** Everything that decides which trials there are, as plain JSON. */
  readonly plan: object;
  /** Keys of the plan that only say how many trials there are, not what they are like: these may change. */
  readonly extent?: readonly string[];
}

/**
 * Make a directory an experiment's, or check that it is already; it then has the plan of the given extent.
 * Throws LowrankError("usage") when it holds another one, and then says what differs, "io" when it holds something else.
 */
export async function claimDirectory(
  directory: string,
  { file: name, what, plan, extent = [] }: Claim,
): Promise<void> {
  const file = join(directory, name);
  const text = `${JSON.stringify(plan, null, 2)}\n`;
  if (existsSync(file)) {
    const remedy = "Remove the directory to begin anew.";
    const stored = await readJsonAs(file, `${what}'s plan`, { schema: planSchema, remedy });
    const different = differences(stored, planSchema.parse(JSON.parse(text)));
    const refused = different.filter(({ key }) => !extent.includes(key));
    if (refused.length > 0) {
      const changes = refused.map(({ key, change }) => `${key} ${change}`);
      throw new LowrankError(
        "usage",
        `${directory}: holds another ${what} (${name}): ${listFirst(changes, MOST_DIFFERENCES, "; ")}. ` +
          "Repeat its command to go on with it, or choose another directory.",
      );
    }
    if (different.length > 0) await writeFileAtomic(file, text);
    return;
  }
  try {
    await mkdir(directory, { recursive: true });
    if ((await readdir(directory)).length === 0) return await writeFileAtomic(file, text);
  } catch (error) {
    throw ioError(directory, `write the ${what} into it`, error);
  }
  throw new LowrankError(
    "io",
    `${directory}: the directory exists and holds no ${what}. Choose another one.`,
  );
}

const planSchema = z.looseObject({ base: z.record(z.string(), z.unknown()) });
type Plan = z.infer<typeof planSchema>;

/** What a plan has otherwise than the stored one: seeds "was [1,2], is [1,2,3]". */
function differences(
  { base: oldBase, ...old }: Plan,
  { base: newBase, ...now }: Plan,
): { readonly key: string; readonly change: string }[] {
  const [stored, asked] = [
    { ...old, ...oldBase },
    { ...now, ...newBase },
  ] as const;
  return [...new Set([...Object.keys(stored), ...Object.keys(asked)])].flatMap((key) => {
    const [before, after] = [valueText(stored[key]), valueText(asked[key])];
    return before === after
      ? []
      : [{ key, change: `was ${shorten(before)}, is ${shorten(after)}` }];
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

/** @file Regular expressions from files on names of modules, within a time limit: JavaScript's matching goes back, and an
 * expression can be written to make it go back for years. The only file of this folder that needs Node. */
import { runInNewContext } from "node:vm";

/** Names match in microseconds. A second try, since a process may have been suspended during the first. */
const LIMITS_MS = [100, 1000] as const;

/** `pattern.exec(text)`; "too long" where that does not end. */
export function execWithin(pattern: RegExp, text: string): RegExpExecArray | null | "too long" {
  if (isHarmless(pattern.source)) return pattern.exec(text);
  for (const timeout of LIMITS_MS) {
    try {
      // V8 stops a running match when the script around it is to end; nothing else does.
      const options = { timeout } as const;
      return runInNewContext("pattern.exec(text)", { pattern, text }, options) as ReturnType<
        RegExp["exec"]
      >;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
    }
  }
  return "too long";
}

/** Most repetitions of an expression whose steps are no more than the length of a name to the power of as many. */
const FEW_REPETITIONS = 4;

/** No group is repeated, nothing is matched a second time, and repetitions are few: a context of its own is not worth it. */
function isHarmless(source: string): boolean {
  const repetitions = source.match(/[*+{]/g)?.length ?? 0;
  return repetitions <= FEW_REPETITIONS && !/\)[*+{]/.test(source);
}

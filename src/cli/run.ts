/** @file Running the command line: parses arguments, runs a command, and turns whatever goes wrong into one
 * message on stderr and an exit code. */
import { CommanderError } from "commander";
import { LowrankError } from "../errors.ts";
import { COMMANDS, type CommandDefinition } from "./command.ts";
import { buildProgram, type LoadedCommand } from "./program.ts";
import { note, styled } from "./terminal.ts";

const EXIT = { success: 0, failure: 1, usage: 2 } as const;

/** Run `lowrank <args>`; returns the exit code. Throws nothing. */
export async function run(args: readonly string[]): Promise<number> {
  let loaded: LoadedCommand | undefined;
  try {
    loaded = await loadCommand(args);
    const program = buildProgram(loaded, (given) => runCommand(loaded!.definition, given));
    if (args.length === 0) {
      note(program.helpInformation());
      return EXIT.usage;
    }
    const canonical = loaded
      ? loaded.tools.options.canonicalArguments(loaded.definition, args)
      : // "help tarin" is about the same unknown command as "tarin".
        args.slice(args[0] === "help" && args.length > 1 ? 1 : 0);
    await program.parseAsync(canonical, { from: "user" });
    return EXIT.success;
  } catch (error) {
    return report(error, loaded);
  }
}

/** The definition of the command that is named first, as in `train …` and `help train`. */
async function loadCommand(args: readonly string[]): Promise<LoadedCommand | undefined> {
  const name = args[0] === "help" ? args[1] : args[0];
  const entry = COMMANDS.find((command) => command.name === name);
  if (!entry) return undefined;
  const [definition, options, values] = await Promise.all([
    entry.load(),
    import("./options.ts"),
    import("./values.ts"),
  ]);
  return { name: entry.name, definition, tools: { options, values } };
}

async function runCommand(
  definition: CommandDefinition,
  given: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { resolveOptions, withFlagNames } = await import("./options.ts");
  const file = given["config"];
  const config =
    typeof file === "string"
      ? await (await import("./config-file.ts")).readConfigFile(file, definition)
      : undefined;
  const options = resolveOptions(definition, given, config);
  try {
    await definition.run(options);
  } catch (error) {
    if (!(error instanceof LowrankError)) throw error;
    const message = withFlagNames(definition, error.message);
    throw new LowrankError(error.code, message, { cause: error });
  }
}

/** Say what went wrong, in one message without a stack; returns the exit code. */
export function report(error: unknown, loaded?: LoadedCommand): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT.success; // --help, --version
    complain(usageMessage(error));
    note(`Run "lowrank ${loaded ? `${loaded.name} ` : ""}--help" to see what there is.`);
    return EXIT.usage;
  }
  const isDebugging = Boolean(process.env["LOWRANK_DEBUG"]);
  if (error instanceof LowrankError) {
    complain(error.message);
  } else {
    const message = error instanceof Error ? error.message : String(error);
    complain(`unexpected error: ${message}`);
    if (!isDebugging) note("Set LOWRANK_DEBUG=1 to see where it happened.");
  }
  if (isDebugging && error instanceof Error) note(describe(error));
  return error instanceof LowrankError && error.code === "usage" ? EXIT.usage : EXIT.failure;
}

function complain(message: string): void {
  note(`${styled(process.stderr, "red", "lowrank:")} ${message}`);
}

/** "error: unknown option '--dta'\n(Did you mean --data?)" → "unknown option '--dta'. Did you mean --data?" */
function usageMessage({ message }: CommanderError): string {
  const [what = "", hint] = message.replace(/^error: /, "").split("\n");
  return hint === undefined ? `${what}.` : `${what}. ${hint.replace(/^\(|\)$/g, "")}`;
}

function describe(error: Error): string {
  const { stack = "", cause } = error;
  return cause instanceof Error ? `${stack}\ncaused by: ${describe(cause)}` : stack;
}

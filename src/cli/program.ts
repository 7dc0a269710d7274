/** @file Command definitions as a commander program: parsing and --help. */
import { Command, Option } from "commander";
import { LowrankError } from "../errors.ts";
import { libraryVersion } from "../version.ts";
import { COMMANDS, type CommandDefinition } from "./command.ts";
import type { OptionInfo } from "./options.ts";
import type * as Options from "./options.ts";
import type * as Values from "./values.ts";

/** The modules that flags are made with; they load zod, which `lowrank --help` does without. */
export interface FlagTools {
  readonly options: typeof Options;
  readonly values: typeof Values;
}

/** A command that the arguments name, with its definition. */
export interface LoadedCommand {
  readonly name: string;
  readonly definition: CommandDefinition;
  readonly tools: FlagTools;
}

/** Called with the values of the flags that were given. */
export type Action = (given: Readonly<Record<string, unknown>>) => Promise<void>;

const DESCRIPTION =
  "Fine-tune language models with low-rank adapters (LoRA), and use what was trained.";

const EXAMPLES = [
  "lowrank train --model path/to/model --data reviews.csv --output reviews-adapter",
  "lowrank evaluate --adapter reviews-adapter --data test.csv",
  'lowrank predict --adapter reviews-adapter --text "Great value, would buy again"',
  "lowrank doctor",
];

const EXIT_CODES = "Exit codes: 0 success, 1 failure, 2 wrong usage.";

const silent = (): void => {};

/** The whole program; only the loaded command knows its flags. */
export function buildProgram(loaded: LoadedCommand | undefined, action: Action): Command {
  const program = new Command("lowrank")
    .description(DESCRIPTION)
    .version(libraryVersion(), "-V, --version", "show the version")
    .helpOption("-h, --help", "show help")
    .helpCommand("help [command]", "show help for a command")
    .exitOverride()
    .configureHelp({ minWidthToWrap: 30 })
    // Errors are shown by whoever runs the program, like all others.
    .configureOutput({ outputError: silent, writeErr: silent })
    .addHelpText("after", examplesText(EXAMPLES))
    .addHelpText("after", `\nlowrank <command> --help lists a command's options. ${EXIT_CODES}`);
  for (const { name, summary } of COMMANDS) {
    const command = program.command(name).summary(summary).helpOption("-h, --help", "show help");
    if (loaded?.name === name) addFlags(command, loaded, action);
    else command.description(summary);
  }
  return program;
}

function addFlags(command: Command, { definition, tools }: LoadedCommand, action: Action): void {
  const options = tools.options.optionsOf(definition);
  command.description(definition.description).usage(usage(options));
  for (const group of new Set([...Object.keys(definition.groups ?? {}), "Options"])) {
    for (const option of options) {
      if (option.group === group) addFlag(command, option, tools.values);
    }
  }
  command.addHelpText("after", examplesText(definition.examples));
  for (const note of definition.notes ?? []) command.addHelpText("after", `\n${note}`);
  command.addHelpText("after", `\n${EXIT_CODES}`);
  command.allowExcessArguments().action(async () => {
    refuseArguments(command);
    const byAttribute = command.opts() as Readonly<Record<string, unknown>>;
    await action(
      Object.fromEntries(
        options.flatMap(({ key, flag }) => {
          const value = byAttribute[tools.options.camelCase(flag.slice(2))];
          return value === undefined ? [] : [[key, value]];
        }),
      ),
    );
  });
}

/** No command takes anything beside flags. Throws LowrankError("usage"). */
function refuseArguments(command: Command): void {
  if (command.args.length === 0) return;
  const surplus = command.args.map((argument) => JSON.stringify(argument)).join(", ");
  throw new LowrankError(
    "usage",
    `${command.name()}: expected flags and their values, got ${surplus} beside them. ` +
      "Name the flag before it; put a value that has spaces in quotes.",
  );
}

function addFlag(command: Command, option: OptionInfo, values: typeof Values): void {
  const { flags, flag, schema, group } = option;
  const help = helpOf(option);
  if (values.isSwitch(schema)) {
    command.addOption(new Option(flags, help).helpGroup(`${group}:`));
    command.addOption(new Option(`--no-${flag.slice(2)}`).hideHelp().helpGroup(`${group}:`));
    return;
  }
  const given = new Option(`${flags} <${option.placeholder}>`, help).helpGroup(`${group}:`);
  if (schema.repeatable) {
    given.argParser<string[]>((text, earlier = []) => [...earlier, text]);
  } else {
    given.argParser((text, earlier?: unknown) => {
      const value = values.parseValue(text, schema);
      if (earlier !== undefined) requireSame(flag, values.show(earlier), values.show(value));
      return value;
    });
  }
  command.addOption(given);
}

/** Of two values one would be ignored. Throws LowrankError("usage"). */
function requireSame(flag: string, earlier: string, value: string): void {
  if (earlier === value) return;
  throw new LowrankError("usage", `${flag}: expected one value, got ${earlier} and ${value}.`);
}

/** Description and default; those that speak for themselves are left out. */
function helpOf({ schema, required }: OptionInfo): string {
  const { description = "", default: fallback } = schema;
  const isPlain = ["number", "string"].includes(typeof fallback) && fallback !== "";
  const suffix = required ? " (required)" : isPlain ? ` (default: ${String(fallback)})` : "";
  return `${description}${suffix}`;
}

function usage(options: readonly OptionInfo[]): string {
  const required = options.filter((option) => option.required);
  const texts = required.map(({ flag, placeholder }) => `${flag} <${placeholder}>`);
  return [...texts, "[options]"].join(" ");
}

function examplesText(examples: readonly string[]): string {
  return `\nExamples:\n${examples.map((line) => `  ${line.replaceAll("\n", "\n  ")}`).join("\n")}`;
}

/** @file What a command is: data from which flags, validation, --help and the documentation are made. The
 * commands themselves are in commands/, and run.ts runs them. */
import type { z } from "zod";

export interface CommandDefinition<S extends z.ZodObject = z.ZodObject> {
  /** One paragraph below the usage line. */
  readonly description: string;
  /** Its keys are the flags in camelCase; types, defaults and descriptions are the schema's. */
  readonly schema: S;
  /** Flags that are not their key in kebab-case, e.g. { r: "-r, --rank" }. */
  readonly flags?: Readonly<Record<string, string>>;
  /** What stands in <> after a flag where its type says too little, e.g. { data: "file" }. */
  readonly placeholders?: Readonly<Record<string, string>>;
  /** Other spellings that are accepted, by the key that they mean, e.g. { lr: "learningRate" }. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Headings of --help with the keys below them; the rest stands under "Options". */
  readonly groups?: Readonly<Record<string, readonly string[]>>;
  /** What to say where a required option is missing, by key. */
  readonly missing?: Readonly<Record<string, string>>;
  /** Whole command lines, as --help shows them. */
  readonly examples: readonly string[];
  /** More paragraphs for the end of --help. */
  readonly notes?: readonly string[];
  run(options: z.output<S>): Promise<void>;
}

/** Gives `run` the types of the schema. */
export function defineCommand<S extends z.ZodObject>(
  definition: CommandDefinition<S>,
): CommandDefinition {
  return definition as unknown as CommandDefinition;
}

/** A command before its definition is loaded: enough for `lowrank --help`, which must be quick. */
export interface CommandEntry {
  readonly name: string;
  readonly summary: string;
  load(): Promise<CommandDefinition>;
}

export const COMMANDS: readonly CommandEntry[] = [
  {
    name: "train",
    summary: "fine-tune a model on your data",
    load: async () => (await import("./commands/train.ts")).train,
  },
  {
    name: "resume",
    summary: "go on with a training run that was interrupted",
    load: async () => (await import("./commands/resume.ts")).resume,
  },
  {
    name: "evaluate",
    summary: "measure what was trained on labelled data",
    load: async () => (await import("./commands/evaluate.ts")).evaluate,
  },
  {
    name: "predict",
    summary: "predict with what was trained",
    load: async () => (await import("./commands/predict.ts")).predict,
  },
  {
    name: "sweep",
    summary: "search the training options that do best",
    load: async () => (await import("./commands/sweep.ts")).sweep,
  },
  {
    name: "compare",
    summary: "compare full fine-tuning with LoRA of several ranks",
    load: async () => (await import("./commands/compare.ts")).compare,
  },
  {
    name: "merge",
    summary: "write a model with an adapter merged into its weights",
    load: async () => (await import("./commands/merge.ts")).merge,
  },
  {
    name: "extract",
    summary: "approximate a fine-tuned model by an adapter",
    load: async () => (await import("./commands/extract.ts")).extract,
  },
  {
    name: "resize",
    summary: "reduce the rank of an adapter",
    load: async () => (await import("./commands/resize.ts")).resize,
  },
  {
    name: "inspect",
    summary: "show a model's modules and parameters, and what an adapter changes",
    load: async () => (await import("./commands/inspect.ts")).inspect,
  },
  {
    name: "doctor",
    summary: "show what this machine offers, and how fast it multiplies matrices",
    load: async () => (await import("./commands/doctor.ts")).doctor,
  },
];

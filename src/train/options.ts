/** @file The options of a training run: one schema with defaults and descriptions, used by the library,
 * by the command line's flags, by --config files and by the documentation. */
import { z } from "zod";
import { LowrankError } from "../errors.ts";
import { listIssues } from "../format.ts";
import { loraConfigSchema } from "../lora/config.ts";
import { SCHEDULES } from "../optim/schedule.ts";
import { DEVICE_CHOICES } from "../runtime/protocol.ts";
import { findTask, ofOtherTasks, TASKS, type TaskName } from "../tasks/registry.ts";
import { columnOptions, taskSettings, type TaskOptions } from "../tasks/options.ts";

const lora = loraConfigSchema.shape;
const count = z.number().int().positive();
const ratio = z.number().min(0).lt(1);
const interval = z.union([z.literal("epoch"), count], {
  error: 'expected "epoch" or a number of steps',
});
/** Editors offer the names; aliases and PEFT's task types are texts as well. */
const taskName: z.ZodType<TaskName | (string & {}), TaskName | (string & {})> = z.string();

/** Tried with all-MiniLM-L6 on 1,045 SMS, one run each, accuracy on 300 others: two epochs at 2e-4 97.0 %,
 * at 5e-4 98.0 %, at 2e-3 94.3 % with a restless training loss; three epochs at 5e-4 97.3 % (940 SMS), at
 * 1e-3 98.0 % with spikes of the loss. A point is three texts: these tell stable from unstable, not more. */
const LORA_LEARNING_RATE = 5e-4;
/** Weights that carry what was learnt before take smaller steps: a tenth, as is usual. */
const FULL_LEARNING_RATE = 5e-5;

/** LoRA's options. Rank, alpha and targets have other defaults than PEFT: they fit small models with
 * little data. */
const loraOptions = {
  r: count.default(16).describe("Rank of the adapters"),
  loraAlpha: z.number().positive().default(16).describe("Adapters are scaled by alpha / rank"),
  loraDropout: lora.loraDropout.describe("Dropout of the adapters' input"),
  targetModules: lora.targetModules
    .unwrap()
    .default("all-linear")
    .describe(
      'Modules to adapt: names or path endings, "all-linear", one regular expression for whole paths, or null for the usual ones of the model family',
    ),
  excludeModules: lora.excludeModules.describe("Modules to leave out, named likewise"),
  layersToTransform: lora.layersToTransform.describe("Numbers of the layers to adapt; default all"),
  layersPattern: lora.layersPattern.describe("Name of the list of layers that those numbers count"),
  rankPattern: lora.rankPattern.describe("Another rank for modules whose path ends in a key"),
  alphaPattern: lora.alphaPattern.describe("Another alpha for modules whose path ends in a key"),
  modulesToSave: lora.modulesToSave.describe(
    "Modules that are trained and stored whole; the task's head is by itself",
  ),
  bias: lora.bias.describe("Which biases are trained"),
  useRslora: lora.useRslora.describe("Scale adapters by alpha / sqrt(rank)"),
  useDora: lora.useDora.describe("Weight-decomposed LoRA (DoRA)"),
  initLoraWeights: lora.initLoraWeights.describe(
    'Initial adapters: true (kaiming-uniform A, B = 0), "gaussian", "pissa", "pissa_niter_4" or "olora" (parts of the weights), or false (both random)',
  ),
  trainableTokenIndices: z
    .array(z.number().int().min(0))
    .min(1)
    .nullable()
    .default(null)
    .describe("Tokens whose rows of the input embedding are trained as well, by their numbers"),
} as const;

/** What of the model is trained and stored. */
const methodOptions = {
  method: z
    .enum(["lora", "full"])
    .default("lora")
    .describe("lora: train adapters; full: train the model's own weights"),
  adapter: z
    .string()
    .min(1)
    .optional()
    .describe(
      "Directory of an adapter to train on, instead of a new one; its rank, targets and the like stay",
    ),
  trainModules: lora.targetModules.describe(
    "With full, modules whose weights are trained, beside the head: names or path endings, or one regular expression for whole paths; default: all",
  ),
  trainLastLayers: count
    .optional()
    .describe("With full, train the last layers, so many, what follows them, and the head"),
  save: z
    .enum(["adapter", "model", "delta"])
    .optional()
    .describe(
      "What to write: the adapter (lora), the whole model, or its change W' - W; default for full: the model",
    ),
  saveDtype: z
    .enum(["f32", "f16", "bf16"])
    .default("f32")
    .describe("With full, data type of the stored weights; f32 restores them exactly"),
} as const;

/** All options; keys are the command line's flags in camelCase. */
export const trainOptionsSchema = z.strictObject({
  model: z.string().min(1).describe("Directory of the base model"),
  data: z
    .string()
    .min(1)
    .describe(
      "Training data: CSV, TSV, JSON, JSON lines or Parquet file; CoNLL, SQuAD or plain text for their tasks",
    ),
  validationData: z
    .string()
    .min(1)
    .optional()
    .describe("Validation data; default: a part of the training data is held out"),
  output: z.string().min(1).optional().describe("Directory to write what is trained to"),
  overwrite: z.boolean().default(false).describe("Replace an output directory that exists"),
  task: taskName
    .default("sequence-classification")
    .describe(`What to train: ${TASKS.map(({ name }) => name).join(", ")}`),
  ...methodOptions,

  ...columnOptions,
  validationSplit: ratio
    .default(0.1)
    .describe("Share of the training data that is held out, classes in proportion; 0: none"),
  ...taskSettings,
  newHead: z
    .boolean()
    .default(false)
    .describe("Replace the model's head where it is for another number of labels"),
  maxLength: count
    .optional()
    .describe(
      "Longest sequence in tokens, longer texts are cut; default: the model's, at most 512",
    ),

  epochs: z.number().positive().default(3).describe("Passes over the training data"),
  steps: count.optional().describe("Optimizer steps to make, instead of epochs"),
  batchSize: count.default(8).describe("Examples computed together"),
  gradientAccumulation: count.default(1).describe("Batches that make one optimizer step"),
  learningRate: z
    .number()
    .positive()
    .optional()
    .describe(
      `Highest learning rate; default: ${LORA_LEARNING_RATE} for LoRA, ${FULL_LEARNING_RATE} for full fine-tuning`,
    ),
  schedule: z
    .enum(SCHEDULES)
    .default("linear")
    .describe("Course of the learning rate after the warm-up"),
  warmupSteps: z
    .number()
    .int()
    .min(0)
    .optional()
    .describe("Steps in which the learning rate rises; default: by the ratio"),
  warmupRatio: ratio.default(0.05).describe("The same as a share of all steps"),
  loraPlusLrRatio: z
    .number()
    .positive()
    .optional()
    .describe("Learning rate of the adapters' B over that of A (LoRA+); default: the same"),
  loraPlusLrEmbedding: z
    .number()
    .positive()
    .default(1e-6)
    .describe("With LoRA+, learning rate of adapted embeddings"),
  weightDecay: z.number().min(0).default(0).describe("Decoupled weight decay of AdamW"),
  maxGradNorm: z
    .number()
    .min(0)
    .default(1)
    .describe("Longest gradient, longer ones are scaled down; 0: no clipping"),
  evalEvery: interval
    .default("epoch")
    .describe('When to evaluate: "epoch", or after so many steps'),
  saveEvery: interval
    .optional()
    .describe(
      'When to save on the way, to go on after a crash: "epoch", or after so many steps; default: only when stopped',
    ),
  bestMetric: z
    .string()
    .optional()
    .describe("Metric that the best adapter is chosen by; default: the task's own"),
  earlyStopping: count
    .optional()
    .describe("Stop after so many evaluations without improvement; default: never"),
  seed: z.number().int().min(0).max(0x7fff_ffff).default(123).describe("Seed of everything random"),

  ...loraOptions,

  dropout: ratio
    .optional()
    .describe("Dropout of the base model while training; default: as its config.json says"),
  device: z
    .enum(DEVICE_CHOICES)
    .default("cpu")
    .describe("Where to compute; auto: cuda where it works, else cpu"),
  threads: z.number().int().min(0).default(0).describe("CPU threads; 0: one per core"),
});

type Parsed = z.infer<typeof trainOptionsSchema>;
/** All options, defaults filled in. */
export type TrainOptions = Omit<Parsed, "learningRate" | "save"> & {
  readonly learningRate: number;
  readonly save: NonNullable<Parsed["save"]>;
};
export type { TrainOptionsInput } from "./options-input.ts";

/** Check options and fill in defaults. Throws LowrankError("usage") that lists every problem. */
export function trainOptions(input: unknown, where = "options"): TrainOptions {
  const parsed = trainOptionsSchema.safeParse(input);
  if (!parsed.success) {
    throw new LowrankError("usage", `${where}: ${listIssues(parsed.error)}.`);
  }
  const problems = contradictions(parsed.data);
  if (problems.length > 0) throw new LowrankError("usage", `${where}: ${problems.join("; ")}.`);
  const { data } = parsed;
  const isFull = data.method === "full";
  const {
    learningRate = isFull ? FULL_LEARNING_RATE : LORA_LEARNING_RATE,
    save = isFull ? "model" : "adapter",
  } = data;
  return { ...data, learningRate, save };
}

/** Options of one method alone. */
const OWN_OPTIONS = {
  lora: [...Object.keys(loraOptions), "adapter", "loraPlusLrRatio", "loraPlusLrEmbedding"],
  full: ["trainModules", "trainLastLayers", "saveDtype"],
} as const;

const otherThan = (method: Parsed["method"]): Parsed["method"] =>
  method === "lora" ? "full" : "lora";

const TASK_OPTIONS = [
  ...Object.keys(columnOptions),
  ...Object.keys(taskSettings),
] as (keyof TaskOptions)[];

/** Names of the options that a run with this method and this task does not read. */
export function foreignOptions({ method, task }: Pick<TrainOptions, "method" | "task">): string[] {
  const { options: own } = findTask(task);
  return [...OWN_OPTIONS[otherThan(method)], ...TASK_OPTIONS.filter((name) => !own.includes(name))];
}

/** What does not go together. */
function contradictions(options: Parsed): string[] {
  const usual = trainOptionsSchema.parse({ model: options.model, data: options.data });
  const isGiven = (name: string): boolean => {
    const [value, otherwise] = [options, usual].map((all) => all[name as keyof Parsed]);
    return JSON.stringify(value) !== JSON.stringify(otherwise);
  };
  return [
    ...ofOtherMethod(options, isGiven),
    ...ofOtherTasks(options.task, TASK_OPTIONS.filter(isGiven)),
    ...ofAdapter(options, isGiven),
    ...withoutCompany(options, isGiven),
    ...notWritten(options),
  ];
}

type IsGiven = (name: string) => boolean;

function ofOtherMethod({ method }: Parsed, isGiven: IsGiven): string[] {
  const other = otherThan(method);
  return OWN_OPTIONS[other]
    .filter(isGiven)
    .map((name) => `${name}: goes with method ${other}, not with ${method}; leave it out`);
}

function ofAdapter({ adapter }: Parsed, isGiven: IsGiven): string[] {
  if (adapter === undefined) return [];
  return Object.keys(loraOptions)
    .filter(isGiven)
    .map((name) => `${name}: comes from the adapter that is trained on; leave it out`);
}

/** Options that do nothing without another one. */
function withoutCompany(options: Parsed, isGiven: IsGiven): string[] {
  const validates = options.validationData !== undefined || options.validationSplit > 0;
  return [
    ...(options.earlyStopping === undefined || validates
      ? []
      : ["earlyStopping: needs validationData, or a validationSplit above 0"]),
    ...(options.loraPlusLrRatio !== undefined || !isGiven("loraPlusLrEmbedding")
      ? []
      : ["loraPlusLrEmbedding: needs loraPlusLrRatio"]),
    ...(options.saveEvery === undefined || options.output !== undefined
      ? []
      : ["saveEvery: needs an output directory"]),
  ];
}

function notWritten({ method, save }: Parsed): string[] {
  if (save === undefined || (save === "adapter") === (method === "lora")) return [];
  return [
    method === "lora"
      ? `save: expected "adapter" with method lora, got "${save}"; lowrank merge makes a model of an adapter`
      : 'save: expected "model" or "delta" with method full, got "adapter"; lowrank extract makes an adapter of a change',
  ];
}

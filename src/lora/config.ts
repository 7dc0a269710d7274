/** @file LoraConfig: PEFT's options under camelCase names, checked, with PEFT's defaults. The file form
 * (adapter_config.json, snake_case) is in peft-format.ts. Source: peft 0.21, LoraConfig. */
import { z } from "zod";
import { LowrankError } from "../errors.ts";
import { listIssues } from "../format.ts";
import { TASK_TYPES } from "../models/family.ts";
import { pythonRegExp } from "./python-regexp.ts";

const names = z.array(z.string()).min(1);
const modules = z.union([z.string(), names], {
  error: "expected a list of modules' names, one regular expression or null",
});
const INITIAL_WEIGHTS =
  'expected true, false, "gaussian", "pissa", "pissa_niter_<number>" or "olora"';
const ranks = z.record(z.string(), z.number().int().positive());
const alphas = z.record(z.string(), z.number());
const tokens = z.array(z.number().int().min(0)).min(1);

/** The options of LoRA, with PEFT's names in camelCase and its defaults. */
export const loraConfigSchema = z.strictObject({
  /** Rank of the change. */
  r: z.number().int().positive().default(8),
  /** The change is scaled by loraAlpha / r (loraAlpha / √r with useRslora). */
  loraAlpha: z.number().default(8),
  /** Dropout of the adapter's input while training. */
  loraDropout: z.number().min(0).lt(1).default(0),
  /** Names or path endings of the modules to adapt, one regular expression for whole paths, or
   * "all-linear". Default: the family's usual ones. */
  targetModules: modules.nullable().default(null),
  /** Likewise, taken out of the targets. */
  excludeModules: modules.nullable().default(null),
  /** Numbers of the layers to adapt; default all. */
  layersToTransform: z
    .union([z.number().int(), z.array(z.number().int())], {
      error: "expected the number of a layer, a list of such numbers or null",
    })
    .nullable()
    .default(null),
  /** Name of the list of layers that layersToTransform counts in, e.g. "h" or "layer". */
  layersPattern: z
    .union([z.string(), names], { error: "expected a name, a list of names or null" })
    .nullable()
    .default(null),
  /** Another rank for modules whose path ends in a key (a regular expression). */
  rankPattern: ranks.default({}),
  /** Another loraAlpha, likewise. */
  alphaPattern: alphas.default({}),
  /** Modules that are trained and stored whole, by the end of their path; a task's head is added by itself. */
  modulesToSave: names.nullable().default(null),
  /** Which biases are trained: none, those of the adapted layers, or all. */
  bias: z.enum(["none", "all", "lora_only"]).default("none"),
  /** Scale by loraAlpha / √r. Source: https://arxiv.org/abs/2312.03732 */
  useRslora: z.boolean().default(false),
  /** Weight-decomposed LoRA. Source: https://arxiv.org/abs/2402.09353 */
  useDora: z.boolean().default(false),
  /** Whether the adapted layers store their weight as [in, out]; known from the model here. */
  fanInFanOut: z.boolean().default(false),
  /** true: kaiming-uniform A and B = 0; "gaussian": A ~ N(0, 1/r²) and B = 0; false: both random.
   * "pissa", "pissa_niter_4", "olora": from the weight itself (initial.ts). */
  initLoraWeights: z
    .union(
      [
        z.boolean(),
        z.enum(["gaussian", "pissa", "olora"]),
        z.string().regex(/^pissa_niter_\d{1,3}$/, INITIAL_WEIGHTS),
      ],
      { error: INITIAL_WEIGHTS },
    )
    .default(true),
  /** Rows of the embedding that are trained by themselves: of the input embedding, or by module. */
  trainableTokenIndices: z
    .union([tokens, z.record(z.string(), tokens)], {
      error: "expected a list of tokens' numbers, such a list for each of some modules, or null",
    })
    .nullable()
    .default(null),
  /** Insist that what is tied stays tied; implemented for trainableTokenIndices, which are anyway. */
  ensureWeightTying: z.boolean().default(false),
  taskType: z.enum(TASK_TYPES).nullable().default(null),
});

/** All options, defaults filled in. */
export type LoraConfig = z.infer<typeof loraConfigSchema>;
/** What a user gives. */
export type LoraOptions = z.input<typeof loraConfigSchema>;

/** Check options and fill in defaults. Throws LowrankError("config") that lists every problem. */
export function loraConfig(options: LoraOptions, where = "LoraConfig"): LoraConfig {
  const parsed = loraConfigSchema.safeParse(options);
  if (!parsed.success) throw new LowrankError("config", `${where}: ${listIssues(parsed.error)}.`);
  const problems = contradictions(parsed.data);
  if (problems.length === 0) return parsed.data;
  throw new LowrankError("config", `${where}: ${problems.join("; ")}.`);
}

function contradictions(config: LoraConfig): string[] {
  const problems: string[] = [];
  if (config.layersPattern !== null && config.layersToTransform === null) {
    problems.push("layersPattern: needs layersToTransform");
  }
  if (typeof config.targetModules === "string" && config.layersToTransform !== null) {
    problems.push(
      "layersToTransform: needs targetModules as a list of names, or null for the usual ones of the model's family, " +
        `not ${JSON.stringify(config.targetModules)}`,
    );
  }
  const alphas = [config.loraAlpha, ...Object.values(config.alphaPattern)];
  if (String(config.initLoraWeights).startsWith("pissa") && alphas.some((alpha) => alpha <= 0)) {
    problems.push('loraAlpha: must be positive for initLoraWeights "pissa"');
  }
  return problems;
}

/** A module's own rank and scale, after the patterns. */
export function rankAndScale(config: LoraConfig, path: string): { r: number; scale: number } {
  const r = lookUp(config.rankPattern, path) ?? config.r;
  const alpha = lookUp(config.alphaPattern, path) ?? config.loraAlpha;
  return { r, scale: alpha / (config.useRslora ? Math.sqrt(r) : r) };
}

function lookUp(patterns: Readonly<Record<string, number>>, path: string): number | undefined {
  const key = Object.keys(patterns).find((name) => matchesPattern(name, path));
  return key === undefined ? undefined : patterns[key];
}

/** Whether a key of rankPattern or alphaPattern means a module: an expression for the end of its path. */
export function matchesPattern(key: string, path: string): boolean {
  return pythonRegExp(key, String.raw`^(?:.*\.)?(?:%)$`, "rankPattern or alphaPattern").test(path);
}

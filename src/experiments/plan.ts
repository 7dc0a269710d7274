/** @file Full fine-tuning against LoRA of several ranks, on the same data, with the same seeds: which trials that needs. */
import { loraConfigSchema } from "../lora/config.ts";
import type { Configuration } from "./space.ts";
import type { Trial } from "./trials.ts";

export const METHODS = ["full", "lora"] as const;
export type Method = (typeof METHODS)[number];

/** A way to fine-tune, to be tried with every seed. */
export interface Variant {
  /** "full", "lora-r8". */
  readonly id: string;
  readonly method: Method;
  /** Absent for full fine-tuning. */
  readonly rank?: number;
}

export interface PlannedTrial extends Trial {
  readonly variant: Variant;
  readonly seed: number;
}

export interface PlanOptions {
  readonly methods: readonly Method[];
  readonly ranks: readonly number[];
  readonly seeds: readonly number[];
  /** Options of training that all trials share; those of one method are left out for the other. */
  readonly base: Configuration;
  readonly learningRates: Readonly<Record<Method, number>>;
}

/** Options of training that only one method has. */
const OWN_OPTIONS: Readonly<Record<Method, readonly string[]>> = {
  lora: [...Object.keys(loraConfigSchema.shape), "loraPlusLrRatio", "loraPlusLrEmbedding"],
  full: ["trainModules", "trainLastLayers", "saveDtype"],
};

/** Full fine-tuning once, LoRA once for each rank. */
export function variantsOf({
  methods,
  ranks,
}: Pick<PlanOptions, "methods" | "ranks">): readonly Variant[] {
  return METHODS.filter((method) => methods.includes(method)).flatMap((method): Variant[] =>
    method === "full"
      ? [{ id: "full", method }]
      : ranks.map((rank) => ({ id: `lora-r${rank}`, method, rank })),
  );
}

/** Options of training for a variant. Full fine-tuning stores the change of the weights, whose spectrum is wanted. */
export function optionsOf({ method, rank }: Variant, plan: PlanOptions): Configuration {
  const other = METHODS.find((one) => one !== method)!;
  const shared = Object.entries(plan.base).filter(([key]) => !OWN_OPTIONS[other].includes(key));
  return {
    ...Object.fromEntries(shared),
    method,
    learningRate: plan.learningRates[method],
    ...(method === "full" ? { save: "delta" } : { r: rank }),
  };
}

/** All variants with the first seed, then with the next: the seed also decides which part of the data is held out, so that the
 * trials of a seed are measured on the same examples. */
export function planTrials(plan: PlanOptions): readonly PlannedTrial[] {
  return plan.seeds.flatMap((seed) =>
    variantsOf(plan).map((variant) => ({
      id: `${variant.id}-seed-${seed}`,
      variant,
      seed,
      options: { ...optionsOf(variant, plan), seed },
    })),
  );
}

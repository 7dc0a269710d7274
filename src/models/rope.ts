/** @file Rotary settings of config.json in both spellings: `rope_theta` with `rope_scaling` (transformers
 * 4), and `rope_parameters` (transformers 5). */
import { z } from "zod";
import type { Rope, RopeScaling } from "../nn/rotary.ts";

const DEFAULT_THETA = 10_000;

const positive = z.number().positive();
/** The share of a head's features that is rotated. Most families rotate all and know no other value. */
const wholeHead = z.literal(1).optional();

/** One dictionary of settings; another type, or a key that its type does not have, is refused.
 * `partial`: what `partial_rotary_factor` may be. */
export function ropeEntry(partial: z.ZodType<number | undefined> = wholeHead) {
  const shared = { rope_theta: positive.optional(), partial_rotary_factor: partial };
  const plain = z.strictObject({ rope_type: z.literal("default"), ...shared });
  const linear = z.strictObject({ rope_type: z.literal("linear"), factor: positive, ...shared });
  const llama3 = z.strictObject({
    rope_type: z.literal("llama3"),
    factor: positive,
    low_freq_factor: positive,
    high_freq_factor: positive,
    original_max_position_embeddings: positive.optional(),
    ...shared,
  });
  return z.preprocess(withRopeType, z.discriminatedUnion("rope_type", [plain, linear, llama3]));
}

/** `type` is an older name of `rope_type`. */
function withRopeType(entry: unknown): unknown {
  if (typeof entry !== "object" || entry === null) return entry;
  const { type, ...rest } = entry as { type?: unknown };
  return { rope_type: type ?? "default", ...rest };
}

/** The settings of a family with one rotation for all layers. */
export const ropeKeys = {
  rope_theta: positive.optional(),
  rope_scaling: ropeEntry().nullish(),
  rope_parameters: ropeEntry().nullish(),
  partial_rotary_factor: wholeHead,
};

/** One dictionary for each kind of layers. */
export const ropeByKindSchema = z.strictObject({
  full_attention: ropeEntry().nullish(),
  sliding_attention: ropeEntry().nullish(),
});

type RopeEntry = z.infer<ReturnType<typeof ropeEntry>>;

export interface RopeDefaults {
  /** Where neither the entry nor the configuration has a base. */
  readonly theta: number;
  /** Longest text of the base model's training, where the entry does not say. */
  readonly length: number;
}

/** What a dictionary means. */
export function ropeOf(entry: RopeEntry | null | undefined, { theta, length }: RopeDefaults): Rope {
  return {
    theta: entry?.rope_theta ?? theta,
    scaling: entry ? scalingOf(entry, length) : undefined,
  };
}

/** The one rotation of a configuration with `ropeKeys`. */
export function oneRope(
  config: z.infer<z.ZodObject<typeof ropeKeys>> & { max_position_embeddings: number },
): Rope {
  return ropeOf(config.rope_scaling ?? config.rope_parameters, {
    theta: config.rope_theta ?? DEFAULT_THETA,
    length: config.max_position_embeddings,
  });
}

function scalingOf(entry: RopeEntry, length: number): RopeScaling | undefined {
  switch (entry.rope_type) {
    case "default":
      return undefined;
    case "linear":
      return { type: "linear", factor: entry.factor };
    case "llama3":
      return {
        type: "llama3",
        factor: entry.factor,
        lowFrequencyFactor: entry.low_freq_factor,
        highFrequencyFactor: entry.high_freq_factor,
        originalLength: entry.original_max_position_embeddings ?? length,
      };
  }
}

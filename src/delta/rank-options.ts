/** @file How far a change is to be approximated, as users say it: by a rank, or by a share of the energy. */
import { LowrankError } from "../errors.ts";
import { formatShape } from "../graph/shape.ts";
import type { Target } from "./approximate.ts";
import { checkEnergy } from "./spectrum.ts";

/** One of the two. */
export interface RankOptions {
  /** r of every matrix. */
  readonly rank?: number | undefined;
  /** Each matrix gets the smallest rank within which this share of its energy lies: above 0, at most 1. */
  readonly energy?: number | undefined;
}

/** Throws LowrankError("usage") for both, neither, or one that cannot be. */
export function targetOf({ rank, energy }: RankOptions): Target {
  if ((rank === undefined) === (energy === undefined)) {
    throw new LowrankError(
      "usage",
      `rank and energy: expected one of the two, got ${rank === undefined ? "neither" : "both"}. ` +
        "Pass a rank, for example 8, or a share of the energy to keep, for example 0.95.",
    );
  }
  if (rank === undefined) {
    checkEnergy(energy!);
    return { energy: energy! };
  }
  if (Number.isInteger(rank) && rank >= 1) return { rank };
  throw new LowrankError(
    "usage",
    `rank: expected a whole number of at least 1, got ${rank}. Pass for example 8.`,
  );
}

/** The error for a rank that matrices do not have. */
export function tooHighRank(
  rank: number,
  matrices: readonly { readonly name: string; readonly shape: readonly number[] }[],
): LowrankError {
  const lines = matrices
    .slice(0, 10)
    .map(({ name, shape }) => `  ${name} ${formatShape(shape)}: at most ${Math.min(...shape)}`);
  const more = matrices.length > 10 ? [`  and ${matrices.length - 10} more`] : [];
  return new LowrankError(
    "usage",
    `rank: expected at most the smaller side of each matrix, got ${rank}:\n${[...lines, ...more].join("\n")}\n` +
      "Pass a smaller rank, name other targetModules, or pass a share of the energy.",
  );
}

/** @file What the commands that approximate changes have in common: flags, progress, the report's tables. */
import { z } from "zod";
import { LowrankError } from "../../errors.ts";
import type { MatrixReport } from "../../delta/report.ts";
import { rankRange } from "../../delta/report.ts";
import { redrawnLine } from "../progress-bar.ts";
import { formatShare, isRedrawable } from "../terminal.ts";

export const rankFlags = {
  rank: z.number().int().positive().optional().describe("Rank of every matrix"),
  energy: z
    .number()
    .gt(0)
    .lte(1)
    .optional()
    .describe("Instead: share of each matrix's energy to keep, with the smallest rank that does"),
  output: z.string().min(1).describe("Directory to write the adapter to"),
  overwrite: z.boolean().default(false).describe("Replace an output directory that exists"),
  json: z.boolean().default(false).describe("Print the result as one JSON document"),
} as const;

/** Throws LowrankError("usage") where both are given, or neither. */
export function checkRankFlags({ rank, energy }: { rank?: unknown; energy?: unknown }): void {
  if ((rank === undefined) !== (energy === undefined)) return;
  throw new LowrankError(
    "usage",
    `--rank and --energy: expected one of the two, got ${rank === undefined ? "neither" : "both"}. ` +
      "Pass for example --rank 8, or --energy 0.95.",
  );
}

/** Shows on a terminal which matrix was the last; `clear` removes the line. */
export function matrixProgress(stream: NodeJS.WriteStream): {
  onMatrix: (matrix: MatrixReport) => void;
  clear: () => void;
} {
  const { draw, clear } = redrawnLine(stream);
  let count = 0;
  return {
    onMatrix: ({ name, rank }) => {
      const text = `${++count}: ${name}, rank ${rank}`;
      // A line that is wrapped cannot be drawn anew.
      if (isRedrawable(stream)) draw(text.slice(0, (stream.columns || 80) - 1), false);
    },
    clear,
  };
}

/** A row for each matrix, and a heading. */
export function matrixRows(matrices: readonly MatrixReport[]): string[][] {
  return [
    ["matrix", "shape", "rank", "energy", "error", "relative", "largest singular values"],
    ...matrices.map(({ name, shape, rank, energyKept, error, relativeError, singularValues }) => [
      name.replace(/\.weight$/, ""),
      shape.join(" x "),
      String(rank),
      formatShare(energyKept),
      significant(error),
      formatShare(relativeError),
      `${singularValues.slice(0, 3).map(significant).join(" ")}${rank > 3 ? " …" : ""}`,
    ]),
  ];
}

const significant = (value: number): string =>
  value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(1) : value.toPrecision(3);

/** "36, rank 2 to 8, 97.1 % of their change's energy" */
export function summaryOf(matrices: readonly MatrixReport[], energyKept: number): string {
  const ranks = rankRange(matrices.map(({ rank }) => rank));
  return `${matrices.length}, rank ${ranks}, ${formatShare(energyKept)} of their energy`;
}

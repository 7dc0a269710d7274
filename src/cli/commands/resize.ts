/** @file lowrank resize: an adapter of a lower rank. */
import { z } from "zod";
import { resizeLora, type ResizeReport } from "../../delta/resize.ts";
import { rankRange } from "../../delta/report.ts";
import { defineCommand } from "../command.ts";
import { alignRows, formatBytes, print, printJson } from "../terminal.ts";
import {
  checkRankFlags,
  matrixProgress,
  matrixRows,
  rankFlags,
  summaryOf,
} from "./approximation.ts";

const { rank, energy, ...otherFlags } = rankFlags;

const schema = z.strictObject({
  adapter: z.string().min(1).describe("Directory of the adapter"),
  rank,
  energy,
  ...otherFlags,
});

export const resize = defineCommand({
  description:
    "Reduce the rank of an adapter: each matrix of its change is replaced by the closest one of lower rank. Needs no base " +
    "model. What else the adapter holds stays as it is.",
  schema,
  flags: { rank: "-r, --rank", output: "-o, --output" },
  placeholders: { adapter: "dir", output: "dir" },
  examples: [
    "lowrank resize --adapter reviews-adapter --rank 4 --output reviews-small",
    "lowrank resize --adapter reviews-adapter --energy 0.99 --output reviews-small",
  ],
  async run({ json, ...options }) {
    checkRankFlags(options);
    const { onMatrix, clear } = matrixProgress(process.stderr);
    try {
      const report = await resizeLora({ ...options, onMatrix });
      clear();
      if (json) printJson(report);
      else print(textOf(report));
    } finally {
      clear();
    }
  },
});

function textOf({ output, matrices, ranksBefore, energyKept, storedBytes }: ResizeReport): string {
  const { before, after } = storedBytes;
  const rows = [
    ["adapter", `${output} (${formatBytes(after)}, before ${formatBytes(before)})`],
    ["matrices", `${summaryOf(matrices, energyKept)}, before rank ${rankRange(ranksBefore)}`],
  ];
  return `${alignRows(matrixRows(matrices))}\n\n${alignRows(rows)}`;
}

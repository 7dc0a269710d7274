/** @file How methods, measurements and their spread are written, in the terminal as in the report. */
import type { Variant } from "../plan.ts";
import type { Spread } from "../statistics.ts";

/** "full fine-tuning", "LoRA, rank 8". */
export const nameOf = ({ rank }: Variant): string =>
  rank === undefined ? "full fine-tuning" : `LoRA, rank ${rank}`;

/** Where there is little room: "full", "r 8". */
export const shortNameOf = ({ rank }: Variant): string =>
  rank === undefined ? "full" : `r ${rank}`;

/** "0.9733 ± 0.0041": mean and sample standard deviation; without the latter where there is one value, "–" where there is none. */
export function formatSpread(
  { mean, deviation, values }: Spread,
  format: (value: number) => string = formatMetric,
): string {
  if (values.length === 0) return "–";
  if (Number.isNaN(mean)) return "NaN";
  return Number.isNaN(deviation) ? format(mean) : `${format(mean)} ± ${format(deviation)}`;
}

const percent = (share: number): string => (100 * share).toFixed(1);

/** A share as percent, with its deviation: "81.3 ± 0.4 %". */
export function formatShares({ mean, deviation, values }: Spread): string {
  if (values.length === 0 || Number.isNaN(mean)) return "–";
  return Number.isNaN(deviation)
    ? `${percent(mean)} %`
    : `${percent(mean)} ± ${percent(deviation)} %`;
}

/** Four decimals, as in the field's tables. */
export const formatMetric = (value: number): string => value.toFixed(4);

/** A short number of any size: "0.03", "2e-5", "1500". */
export function formatTick(value: number): string {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential().replace("e+", "e");
  return String(value);
}

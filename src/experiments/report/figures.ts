/** @file The plots of a comparison, as what plot.ts draws. */
import { formatBytes, formatCount } from "../../format.ts";
import type { Comparison, ComparisonRow, ComparisonSeries } from "../comparison.ts";
import type { Variant } from "../plan.ts";
import { smoothCurve, stretchOf, type CurvePoint } from "../curves.ts";
import { medianSpectrum } from "../spectra.ts";
import { layoutOf, pathOf, type PlotOptions, type PlotSeries, type Point } from "./plot.ts";
import { kindFor } from "./scale.ts";
import { formatShares, formatSpread, formatTick, nameOf, shortNameOf } from "./words.ts";

/** Points of a smoothed training curve. */
const CURVE_POINTS = 50;
/** Points of a spectrum, evenly spaced on its logarithmic axis. */
const SPECTRUM_POINTS = 60;

/** Where a variant's colour is in the page's style: full fine-tuning, or the place of a rank among the ranks. */
export function colorsOf(variants: readonly Variant[]): ReadonlyMap<string, string> {
  const ranks = variants.filter(({ rank }) => rank !== undefined);
  return new Map(
    variants.map((variant) => [
      variant.id,
      variant.rank === undefined ? "var(--full)" : `var(--rank-${ranks.indexOf(variant)})`,
    ]),
  );
}

/** What all figures need to know. */
export interface FigureContext {
  readonly colors: ReadonlyMap<string, string>;
  /** The name of the main metric. */
  readonly metric: string;
  /** "test" or "validation". */
  readonly measuredOn: string;
  /** Whether each seed holds out a validation part of its own. */
  readonly isHeldOut: boolean;
}

const markerOf = ({ method }: Variant): "circle" | "square" =>
  method === "full" ? "square" : "circle";

/** The main metric against the stored bytes: a point with its deviation for each variant, a small one for each seed. */
export function sizePlot({ rows }: Comparison, context: FigureContext): PlotOptions {
  const { metric, measuredOn } = context;
  return {
    id: "size",
    title: `${metric} against stored bytes`,
    description: `${measuredOn} ${metric} of each method over the size of what it stores, on a logarithmic axis. ${rows
      .map((row) => `${nameOf(row.variant)}: ${metricText(row, metric)} with ${bytesText(row)}`)
      .join("; ")}.`,
    x: {
      label: "stored bytes",
      kind: "log",
      format: (value) => formatBytes(value).replace(".0", ""),
    },
    y: { label: `${measuredOn} ${metric}`, kind: "linear", format: formatTick },
    series: rows.map((row) => {
      const spread = row.metrics[metric];
      const at = (y: number): Point => ({ x: row.storedBytes, y });
      return {
        name: nameOf(row.variant),
        color: context.colors.get(row.variant.id)!,
        marker: markerOf(row.variant),
        points: spread
          ? [{ ...at(spread.mean), deviation: spread.deviation, label: shortNameOf(row.variant) }]
          : [],
        dots: (spread?.values ?? []).map(at),
      };
    }),
  };
}

const metricText = ({ metrics }: ComparisonRow, metric: string): string =>
  metrics[metric] ? formatSpread(metrics[metric]) : "not measured";

const bytesText = ({ storedBytes }: ComparisonRow): string =>
  Number.isNaN(storedBytes) ? "nothing stored" : formatBytes(storedBytes);

/** The training loss, each point the mean of a stretch of steps; or the loss on the validation data. */
export function lossPlot(
  { series }: Comparison,
  which: "training" | "validation",
  context: FigureContext,
): PlotOptions {
  const curveOf = (one: ComparisonSeries): readonly CurvePoint[] =>
    which === "training" ? smoothCurve(one.training, CURVE_POINTS) : one.validation;
  const curves = series.map((one) => ({ variant: one.variant, curve: curveOf(one) }));
  const losses = curves.flatMap(({ curve }) => curve.map(({ loss }) => loss));
  const ends = curves.map(({ variant, curve }) => {
    const last = curve.at(-1);
    return `${nameOf(variant)} ends at ${last ? last.loss.toFixed(4) : "no value"}`;
  });
  return {
    id: `${which}-loss`,
    title: `${which} loss`,
    description: `The ${which} loss over the optimizer steps, mean over the seeds. ${ends.join("; ")}.`,
    x: { label: "optimizer steps", kind: "linear", format: formatCount, include: [0] },
    y: { label: `${which} loss`, kind: kindFor(losses), format: formatTick },
    series: curves.map(({ variant, curve }) => ({
      name: nameOf(variant),
      color: context.colors.get(variant.id)!,
      line: true,
      marker: which === "validation" ? markerOf(variant) : undefined,
      points: curve.map(({ step, loss }) => ({ x: step, y: loss })),
      endLabel: shortNameOf(variant),
    })),
  };
}

/** Steps that a point of the training loss is the mean of. */
export function smoothedSteps({ series }: Comparison): number {
  return Math.max(1, ...series.map(({ training }) => stretchOf(training, CURVE_POINTS)));
}

/** Singular values by their number, both logarithmic: medians over the matrices. */
export function spectrumPlot(comparison: Comparison, context: FigureContext): PlotOptions {
  const { series, matrices } = comparison;
  const all = series.flatMap(({ spectra }) => spectra.flatMap((values) => shown(values)));
  const longest = Math.max(1, ...all.map(({ x }) => x));
  return {
    id: "spectra",
    title: "singular values of the change",
    description:
      `Singular values of ΔW by their number, both axes logarithmic, medians over ${matrices.length} matrices and the seeds. ` +
      series
        .map(({ variant, spectra }) => {
          const values = medianSpectrum(spectra);
          return `${nameOf(variant)}: ${values.length} values, the largest ${values[0]?.toPrecision(3) ?? "none"}`;
        })
        .join("; ") +
      ".",
    x: {
      label: "number of the singular value",
      kind: "log2",
      format: formatTick,
      include: [1, longest],
    },
    // The same axis whichever matrix is chosen.
    y: { label: "singular value", kind: "log", format: formatTick, include: all.map(({ y }) => y) },
    series: series.map(({ variant, spectra }) =>
      spectrumSeries(variant, medianSpectrum(spectra), context),
    ),
  };
}

function spectrumSeries(
  variant: Variant,
  values: readonly number[],
  context: FigureContext,
): PlotSeries {
  const points = shown(values);
  const last = points.length - 1;
  return {
    name: nameOf(variant),
    color: context.colors.get(variant.id)!,
    line: true,
    points: points.map(({ x, y }, index) => ({
      x,
      y,
      label: index === last ? shortNameOf(variant) : undefined,
    })),
  };
}

/** Values below this share of the largest are not drawn: they end in what float32 rounds away. */
const NEGLIGIBLE = 1e-5;

/** The points of a spectrum that are drawn: without negligible values, and of many, some. */
function shown(values: readonly number[]): Point[] {
  const largest = values[0] ?? 0;
  const kept = values.filter((value) => value > NEGLIGIBLE * largest);
  const places = new Set(
    Array.from({ length: SPECTRUM_POINTS }, (_, i) =>
      Math.round(kept.length ** (i / (SPECTRUM_POINTS - 1))),
    ),
  );
  return [...places]
    .filter((place) => place <= kept.length)
    .map((place) => ({ x: place, y: kept[place - 1]! }));
}

/** The lines of the spectrum plot for each matrix, in the order of the series: values for paths' `d`. */
export function spectrumPaths(
  { series, matrices }: Comparison,
  plot: PlotOptions,
): { readonly name: string; readonly paths: readonly string[] }[] {
  const layout = layoutOf(plot);
  return matrices.map(({ name }, index) => ({
    name,
    paths: series.map(({ spectra }) => pathOf(shown(spectra[index] ?? []), layout)),
  }));
}

/** How much of each method's own change a lower rank holds. */
export function energyPlot({ rows, energyRanks }: Comparison, context: FigureContext): PlotOptions {
  return {
    id: "energy",
    title: "energy of the change within a rank",
    description: `Share of the energy of each method's own change that a matrix of rank r can hold. ${rows
      .map((row) => `${nameOf(row.variant)}: ${energyText(row, energyRanks)}`)
      .join("; ")}.`,
    x: { label: "rank r", kind: "log2", format: formatTick, include: energyRanks },
    y: { label: "share of the energy", kind: "linear", format: percent, include: [0, 1] },
    series: rows.map((row) => {
      const { variant, energyWithin } = row;
      // Beyond its rank, an adapter's change has nothing more.
      const ranks = energyRanks.filter((rank) => rank <= (variant.rank ?? Infinity));
      return {
        name: nameOf(variant),
        color: context.colors.get(variant.id)!,
        line: true,
        marker: markerOf(variant),
        points: ranks.map((rank, index) => ({
          x: rank,
          y: energyWithin[index]!.mean,
          deviation: energyWithin[index]!.deviation,
        })),
      };
    }),
  };
}

const percent = (share: number): string => `${Math.round(100 * share)} %`;

function energyText({ energyWithin }: ComparisonRow, ranks: readonly number[]): string {
  const some = ranks.flatMap((rank, index) =>
    index % 2 === 0 ? [`${formatShares(energyWithin[index]!)} within ${rank}`] : [],
  );
  return some.join(", ");
}

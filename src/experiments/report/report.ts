/** @file The report of a comparison: one HTML page that needs nothing else, neither a server nor a network nor a script. */
import { formatBytes, formatCount, formatShare, plural } from "../../format.ts";
import { HIGH_SHARE, type Comparison, type ComparisonRow } from "../comparison.ts";
import type { Variant } from "../plan.ts";
import type { Setting } from "../setting.ts";
import { medianSpectrum } from "../spectra.ts";
import { chooser, chooserScript, figure, htmlTable } from "./figure.ts";
import {
  colorsOf,
  energyPlot,
  lossPlot,
  sizePlot,
  smoothedSteps,
  spectrumPaths,
  spectrumPlot,
  type FigureContext,
} from "./figures.ts";
import { markup, type Markup } from "./markup.ts";
import { settingSection } from "./setting-section.ts";
import { styleSheet } from "./style.ts";
import { mainTable, type TextTable } from "./tables.ts";
import { formatMetric, formatShares, formatSpread, nameOf, shortNameOf } from "./words.ts";

/** The whole page. */
export function reportOf(comparison: Comparison, setting: Setting): string {
  const variants = comparison.rows.map(({ variant }) => variant);
  const context: FigureContext = {
    colors: colorsOf(variants),
    metric: setting.metric,
    isHeldOut: setting.base["validationData"] === undefined,
    measuredOn: setting.examples.test === undefined ? "validation" : "test",
  };
  const title = `${titleOf(variants)}: ${lastPart(String(setting.base["model"]))} on ${lastPart(String(setting.base["data"]))}`;
  const ranks = variants.filter(({ rank }) => rank !== undefined).length;
  return markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>
${styleSheet(ranks)}
</style>
</head>
<body>
<main>
<h1>${title}</h1>
${summary(comparison, setting)}
${failures(comparison)}
<h2>Results</h2>
${htmlTable(mainTable(comparison, setting.metric), "Results of all methods")}
${tableNotes(comparison, setting, context)}
<h2>Plots</h2>
<div class="figures">
${figures(comparison, context)}
</div>
${matrixSection(comparison)}
${settingSection(comparison, setting)}
</main>
</body>
</html>
`.text;
}

const titleOf = (variants: readonly Variant[]): string =>
  [
    ...(variants.some(({ method }) => method === "full") ? ["Full fine-tuning"] : []),
    ...(variants.some(({ method }) => method === "lora") ? ["LoRA"] : []),
  ].join(" and ");

/** The last two parts of a path. */
const lastPart = (path: string): string => path.split(/[\\/]/).filter(Boolean).slice(-2).join("/");

/** The outcome in a sentence or two, without judging it. */
function summary({ rows }: Comparison, setting: Setting): Markup {
  const { metric } = setting;
  const full = rows.find(({ variant }) => variant.method === "full");
  const done = rows.filter((row) => row.failed < row.trials && row.metrics[metric]);
  const lora = done.filter(({ variant }) => variant.method === "lora");
  const fullDone = full && done.includes(full) ? full : undefined;
  const sentence = (row: ComparisonRow): string =>
    `${capital(nameOf(row.variant))} reaches ${metric} ${formatSpread(row.metrics[metric]!)} and stores ${formatBytes(row.storedBytes)}`;
  const smallest = lora[0];
  const best = lora.toSorted(
    (a, b) => sign(setting) * (b.metrics[metric]!.mean - a.metrics[metric]!.mean),
  )[0];
  const shareOf = (row: ComparisonRow): string =>
    fullDone ? `, ${formatShare(row.storedBytes / fullDone.storedBytes)} of that` : "";
  const sentences = [
    ...(fullDone ? [`${sentence(fullDone)}.`] : []),
    ...(smallest ? [`${sentence(smallest)}${shareOf(smallest)}.`] : []),
    ...(best && best !== smallest
      ? [
          `The best mean of the ranks: ${nameOf(best.variant)}, ${formatSpread(best.metrics[metric]!)}, ${formatBytes(best.storedBytes)}${shareOf(best)}.`,
        ]
      : []),
  ];
  return markup`<p>${sentences.join(" ")}</p>`;
}

const sign = ({ lowerIsBetter }: Setting): number => (lowerIsBetter ? -1 : 1);

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

function failures({ failures: failed }: Comparison): Markup | undefined {
  if (failed.length === 0) return undefined;
  return markup`<div class="failures" role="note">
<p>${failed.length === 1 ? "1 run" : `${failed.length} runs`} failed and ${failed.length === 1 ? "is" : "are"} in no number below:</p>
<ul>${failed.map(({ id, error }) => markup`<li><code>${id}</code>: ${error}</li>`)}</ul>
</div>`;
}

function tableNotes(
  { rows, matrices }: Comparison,
  { seeds, examples }: Setting,
  { measuredOn }: FigureContext,
): Markup {
  const count = examples.test ?? examples.validation;
  const spread =
    seeds.length > 1
      ? `Mean ± sample standard deviation over ${seeds.length} seeds (time and memory: means). `
      : "One seed, so that nothing tells differences from chance. ";
  const energy = rows.some((row) => row.fullEnergyWithinRank.values.length > 0)
    ? " Of full's ΔW: the share of the energy, the sum of the squares, of full fine-tuning's change that a matrix of this rank can hold at best."
    : "";
  return markup`<p class="faint">${spread}Metrics are of ${plural(count, `${measuredOn} example`)}.
Stored: the weights that training leaves behind; of full fine-tuning its change ΔW, which has the size of the weights that changed.
Memory: the largest that the training process took.${energy}
Rank of ${100 * HIGH_SHARE} %: the least rank that holds so much of the energy of a method's own change, over ${plural(matrices.length, "matrix")}.</p>`;
}

function figures(comparison: Comparison, context: FigureContext): Markup {
  const { rows, matrices } = comparison;
  const { metric, measuredOn } = context;
  const size = sizePlot(comparison, context);
  const training = lossPlot(comparison, "training", context);
  const validation = lossPlot(comparison, "validation", context);
  const steps = smoothedSteps(comparison);
  const hasSpread = rows.some((row) => (row.metrics[metric]?.values.length ?? 0) > 1);
  return markup`${figure({
    plot: size,
    heading: `${capital(metric)} against what is stored`,
    caption: `${hasSpread ? "The mean with its sample standard deviation, small points: single seeds." : "One run of each."} ${capital(measuredOn)} data. The vertical axis does not start at 0.`,
    table: {
      columns: ["method", "stored", metric, "single seeds"],
      rows: rows.map((row) => [
        nameOf(row.variant),
        Number.isNaN(row.storedBytes) ? "–" : `${formatCount(row.storedBytes)} B`,
        row.metrics[metric] ? formatSpread(row.metrics[metric]) : "–",
        (row.metrics[metric]?.values ?? []).map(formatMetric).join(", "),
      ]),
    },
  })}
${figure({
  plot: training,
  heading: "Training loss",
  caption: `Mean over the seeds${steps > 1 ? `, each point the mean of ${steps} steps` : ""}.`,
  table: curveTable(training),
})}
${figure({
  plot: validation,
  heading: "Validation loss",
  caption: `Mean over the seeds, at each evaluation.${context.isHeldOut ? " Each seed holds out a part of its own." : ""}`,
  table: curveTable(validation),
})}
${matrices.length === 0 ? undefined : changeFigures(comparison, context)}`;
}

function changeFigures(comparison: Comparison, context: FigureContext): Markup {
  const { rows, series, matrices, energyRanks } = comparison;
  const spectra = spectrumPlot(comparison, context);
  const medians = series.map(({ spectra: own }) => medianSpectrum(own));
  return markup`${figure({
    plot: spectra,
    heading: "Singular values of the change ΔW",
    caption: `Median over ${plural(matrices.length, "matrix")} and the seeds; each as large as it is, not divided by anything.`,
    controls: chooser(
      spectra,
      `median of all ${matrices.length}`,
      spectrumPaths(comparison, spectra),
    ),
    table: {
      columns: ["number", ...series.map(({ variant }) => shortNameOf(variant))],
      rows: energyRanks.map((rank) => [
        String(rank),
        ...medians.map((values) => values[rank - 1]?.toPrecision(3) ?? ""),
      ]),
    },
  })}
${chooserScript(spectra)}
${figure({
  plot: energyPlot(comparison, context),
  heading: "Energy of the change within a rank",
  caption: `How much of each method's own change its best approximation of rank r holds: the squares of the ${plural(matrices.length, "matrix")} together.`,
  table: {
    columns: ["rank r", ...rows.map(({ variant }) => shortNameOf(variant))],
    rows: energyRanks.map((rank, index) =>
      [String(rank)].concat(rows.map((row) => formatShares(row.energyWithin[index]!))),
    ),
  },
})}`;
}

/** A row for each place of the plot's horizontal axis. */
function curveTable({ series }: ReturnType<typeof lossPlot>): TextTable {
  const steps = [...new Set(series.flatMap(({ points }) => points.map(({ x }) => x)))];
  const values = series.map(({ points }) => new Map(points.map(({ x, y }) => [x, y])));
  return {
    columns: ["step", ...series.map(({ endLabel = "" }) => endLabel)],
    rows: steps
      .toSorted((a, b) => a - b)
      .map((step) =>
        [String(step)].concat(
          values.map((losses) => (losses.has(step) ? formatMetric(losses.get(step)!) : "")),
        ),
      ),
  };
}

/** How the change is distributed over the matrices: full fine-tuning's. */
function matrixSection({ matrices, energyRanks }: Comparison): Markup | undefined {
  if (!matrices.some(({ full }) => full)) return undefined;
  const ranks = energyRanks.filter((rank) => rank <= 64);
  return markup`<h2>Full fine-tuning's change, matrix by matrix</h2>
<details><summary>Norms, and energy within a rank, of ${plural(matrices.length, "matrix")}</summary>
${htmlTable(
  {
    columns: ["matrix", "size", "‖ΔW‖", ...ranks.map((rank) => `within ${rank}`)],
    rows: matrices.map(({ name, shape, full }) => [
      name,
      shape.join(" x "),
      full!.norm.toPrecision(3),
      ...ranks.map((_, index) => formatShare(full!.energyWithin[index]!)),
    ]),
  },
  "Full fine-tuning's change of each matrix",
)}
</details>`;
}

/** @file The numbers of a comparison as tables: for the terminal and the report as text, for other programs as CSV. */
import { formatBytes, formatCount } from "../../format.ts";
import { formatSeconds } from "../../train/listeners/lines.ts";
import { HIGH_SHARE, type Comparison, type ComparisonRow } from "../comparison.ts";
import type { ComparedTrial } from "../compared-trials.ts";
import { spreadOf, type Spread } from "../statistics.ts";
import { formatShares, formatSpread, nameOf } from "./words.ts";

export interface TextTable {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** The metrics of all rows, the main one first, then the loss. */
function metricNames(rows: readonly ComparisonRow[], main: string): string[] {
  const names = rows.flatMap(({ metrics }) => Object.keys(metrics));
  return [...new Set([main, ...names])].filter((name) => names.includes(name));
}

interface Column {
  readonly title: string;
  readonly cell: (row: ComparisonRow) => string;
}

/** A row for each variant. */
export function mainTable({ rows }: Comparison, main: string): TextTable {
  const hasEnergy = rows.some(({ fullEnergyWithinRank }) => fullEnergyWithinRank.values.length > 0);
  const columns: Column[] = [
    { title: "method", cell: ({ variant }) => nameOf(variant) },
    ...(rows.some(({ failed }) => failed > 0)
      ? [
          {
            title: "runs",
            cell: ({ trials, failed }) => `${trials - failed} of ${trials}`,
          } as Column,
        ]
      : []),
    ...metricNames(rows, main).map((name) => ({
      title: name,
      cell: ({ metrics }: ComparisonRow) => formatSpread(metrics[name] ?? spreadOf([])),
    })),
    { title: "trained", cell: (row) => formatNumber(row.trainableParameters, formatCount) },
    { title: "stored", cell: (row) => formatNumber(row.storedBytes, formatBytes) },
    { title: "time", cell: ({ seconds }) => formatSpread(mean(seconds), formatSeconds) },
    { title: "memory", cell: (row) => formatSpread(mean(row.peakMemoryBytes), formatBytes) },
    ...(hasEnergy
      ? [{ title: "of full's ΔW", cell: (row) => formatShares(row.fullEnergyWithinRank) } as Column]
      : []),
    {
      title: `rank of ${100 * HIGH_SHARE} %`,
      cell: ({ rankOfHighShare }) => formatSpread(rankOfHighShare, oneDecimal),
    },
  ];
  return {
    columns: columns.map(({ title }) => title),
    rows: rows.map((row) => columns.map(({ cell }) => cell(row))),
  };
}

/** Where there is something behind the point. */
const oneDecimal = (value: number): string => String(Number(value.toFixed(1)));

const formatNumber = (value: number, format: (value: number) => string): string =>
  Number.isNaN(value) ? "–" : format(value);

/** Without the deviation, which says little of times and memory. */
const mean = (spread: Spread): Spread => ({ ...spread, deviation: NaN });

/** The same as CSV, in plain numbers: means, and sample standard deviations in columns of their own. */
export function resultsCsv({ rows, energyRanks }: Comparison, main: string): string {
  const names = metricNames(rows, main);
  const columns: [string, (row: ComparisonRow) => string | number][] = [
    ["method", ({ variant }) => variant.method],
    ["rank", ({ variant }) => variant.rank ?? ""],
    ["runs", ({ trials }) => trials],
    ["failed", ({ failed }) => failed],
    ...names.flatMap((name) => spreadColumns(name, ({ metrics }) => metrics[name])),
    ...names.flatMap((name) =>
      spreadColumns(`validation_${name}`, ({ validationMetrics }) => validationMetrics[name]),
    ),
    ["trainable_parameters", (row) => row.trainableParameters],
    ["stored_bytes", (row) => row.storedBytes],
    ...spreadColumns("seconds", ({ seconds }) => seconds),
    ...spreadColumns("peak_memory_bytes", (row) => row.peakMemoryBytes),
    ...spreadColumns("full_energy_within_rank", (row) => row.fullEnergyWithinRank),
    ...spreadColumns("rank_of_90_percent", (row) => row.rankOfHighShare),
    ...energyRanks.flatMap((rank, index) =>
      spreadColumns(`energy_within_${rank}`, (row) => row.energyWithin[index]),
    ),
  ];
  return csv([
    columns.map(([name]) => name),
    ...rows.map((row) => columns.map(([, value]) => value(row))),
  ]);
}

function spreadColumns(
  name: string,
  spread: (row: ComparisonRow) => Spread | undefined,
): [string, (row: ComparisonRow) => number][] {
  return [
    [name, (row) => spread(row)?.mean ?? NaN],
    [`${name}_sd`, (row) => spread(row)?.deviation ?? NaN],
  ];
}

/** A row for each trial. */
export function trialsCsv(trials: readonly ComparedTrial[]): string {
  const names = (of: (trial: ComparedTrial) => object | undefined): string[] => [
    ...new Set(trials.flatMap((trial) => Object.keys(of(trial) ?? {}))),
  ];
  const validation = names(({ metrics }) => metrics);
  const test = names(({ testMetrics }) => testMetrics);
  const head = ["id", "method", "rank", "seed", "error", "trainable_parameters", "stored_bytes"];
  const rows = trials.map((trial) => [
    trial.id,
    trial.variant.method,
    trial.variant.rank ?? "",
    trial.seed,
    trial.error ?? "",
    ...(trial.error === undefined
      ? [trial.trainableParameters, trial.storedBytes, trial.seconds, trial.peakMemoryBytes]
      : ["", "", "", ""]),
    ...validation.map((name) => trial.metrics[name] ?? ""),
    ...test.map((name) => trial.testMetrics?.[name] ?? ""),
  ]);
  const metrics = [
    ...validation.map((name) => `validation_${name}`),
    ...test.map((name) => `test_${name}`),
  ];
  return csv([[...head, "seconds", "peak_memory_bytes", ...metrics], ...rows]);
}

/** RFC 4180; a NaN is an empty cell. */
function csv(rows: readonly (readonly (string | number)[])[]): string {
  return rows.map((row) => `${row.map(csvCell).join(",")}\n`).join("");
}

function csvCell(value: string | number): string {
  const text = Number.isNaN(value) ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

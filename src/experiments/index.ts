/** @file "lowrank/experiments": many trainings, compared: a search for the best options, and full fine-tuning against LoRA. */

export { compare, type CompareOptions, type CompareResult, type SharedOptions } from "./compare.ts";
export type { ComparedTrial } from "./compared-trials.ts";
export type { ComparedMatrix, Comparison, ComparisonRow, ComparisonSeries } from "./comparison.ts";
export { readCurves, type CurvePoint, type LossCurves } from "./curves.ts";
export { METHODS, type Method, type Variant } from "./plan.ts";
export { drawPlot, type PlotOptions, type PlotSeries, type Point } from "./report/plot.ts";
export { reportOf } from "./report/report.ts";
export type { Setting } from "./setting.ts";
export { draw, grid, type Choice, type Configuration, type Space } from "./space.ts";
export { jointEnergyWithin, trainedSpectra, type MatrixSpectrum } from "./spectra.ts";
export { spreadOf, type Spread } from "./statistics.ts";
export { sweep, type SweepOptions } from "./sweep.ts";
export { STRATEGIES, type Strategy, type SweepResult } from "./swept-trials.ts";
export type { Trial, TrialResult } from "./trials.ts";

/** @file Axes: which range of numbers they show, and where their ticks are. */

/** "log2" has powers of two as ticks, as ranks do. */
export type ScaleKind = "linear" | "log" | "log2";

export interface Scale {
  readonly kind: ScaleKind;
  readonly low: number;
  readonly high: number;
  /** Round numbers from low to high. */
  readonly ticks: readonly number[];
  /** A value's place, 0 at low and 1 at high; NaN for what a logarithmic axis cannot show. */
  readonly at: (value: number) => number;
}

const LINEAR_TICKS = 5;
const MAX_TICKS = { log: 7, log2: 10 } as const;

/** A scale that shows all finite values (on a logarithmic one: all positive ones) between round numbers. */
export function scaleOf(kind: ScaleKind, values: readonly number[]): Scale {
  return kind === "linear" ? linearScale(values) : logScale(kind, values);
}

/** Logarithmic where positive values differ by more than this factor. */
const WIDE = 10;

/** The kind of scale that suits losses and the like. */
export function kindFor(values: readonly number[]): ScaleKind {
  const finite = values.filter(Number.isFinite);
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  return low > 0 && high / low > WIDE ? "log" : "linear";
}

function linearScale(values: readonly number[]): Scale {
  const finite = values.filter(Number.isFinite);
  let [low, high] = finite.length > 0 ? [Math.min(...finite), Math.max(...finite)] : [0, 1];
  if (high - low <= Math.abs(high) * 1e-9) {
    // One value stands in the middle.
    const margin = high === 0 ? 1 : Math.abs(high) / 10;
    [low, high] = [low - margin, high + margin];
  }
  const step = roundStep((high - low) / LINEAR_TICKS);
  const [first, last] = [Math.floor(low / step + 1e-9), Math.ceil(high / step - 1e-9)];
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => rounded((first + i) * step));
  [low, high] = [ticks[0]!, ticks.at(-1)!];
  return { kind: "linear", low, high, ticks, at: (value) => (value - low) / (high - low) };
}

/** The smallest of 1, 2, 5, 10, … that is not below a number. */
function roundStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  return rounded([1, 2, 5, 10].find((digit) => digit * power >= step * (1 - 1e-9))! * power);
}

/** Without the last digits, where decimal steps are off. */
const rounded = (value: number): number => Number(value.toPrecision(12));

function logScale(kind: "log" | "log2", values: readonly number[]): Scale {
  const positive = values.filter((value) => value > 0 && Number.isFinite(value));
  const [least, most] =
    positive.length > 0 ? [Math.min(...positive), Math.max(...positive)] : [1, 10];
  const steps = kind === "log2" ? powersOf2(least, most) : decimalSteps(least, most);
  const [low, high] = [steps[0]!, steps.at(-1)!];
  const range = Math.log(high / low);
  return {
    kind,
    low,
    high,
    ticks: logTicks(kind, steps),
    at: (value) => (value > 0 ? Math.log(value / low) / range : NaN),
  };
}

/** All steps where they are few, else powers of ten, else some of these. */
function logTicks(kind: "log" | "log2", steps: readonly number[]): readonly number[] {
  const most = MAX_TICKS[kind];
  if (steps.length <= most) return steps;
  const powers = kind === "log2" ? steps : steps.filter(isPowerOf10);
  const every = Math.ceil(powers.length / most);
  return powers.filter((_, index) => index % every === 0);
}

const isPowerOf10 = (value: number): boolean => value.toExponential().startsWith("1e");

function powersOf2(least: number, most: number): number[] {
  const first = Math.floor(Math.log2(least));
  const count = Math.max(1, Math.ceil(Math.log2(most)) - first);
  return Array.from({ length: count + 1 }, (_, index) => 2 ** (first + index));
}

/** Digits times powers of ten: those between two numbers, and the ones just beyond; at least two. */
function decimalSteps(least: number, most: number): number[] {
  const digits = Math.log10(most / least) < 3 ? [1, 2, 5] : [1];
  const [first, last] = [Math.floor(Math.log10(least)) - 1, Math.ceil(Math.log10(most)) + 1];
  const all = Array.from({ length: last - first + 1 }, (_, i) => first + i).flatMap((exponent) =>
    digits.map((digit) => rounded(digit * 10 ** exponent)),
  );
  const from = all.findLastIndex((step) => step <= least);
  const to = all.findIndex((step) => step >= most);
  return all.slice(from, Math.max(to, from + 1) + 1);
}

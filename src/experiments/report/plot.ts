/** @file Plots as SVG: axes with ticks and labels, lines, points with error bars. Colours are CSS variables of the page. */
import { markup, type Content, type Markup } from "./markup.ts";
import { scaleOf, type Scale, type ScaleKind } from "./scale.ts";

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Half the length of an error bar. */
  readonly deviation?: number;
  /** Shown beside the point. */
  readonly label?: string | undefined;
}

export type Marker = "circle" | "square";

export interface PlotSeries {
  readonly name: string;
  /** A CSS colour, or a variable: "var(--full)". */
  readonly color: string;
  readonly points: readonly Point[];
  /** Connect the points. */
  readonly line?: boolean;
  readonly marker?: Marker | undefined;
  /** Small points in the background: single measurements. */
  readonly dots?: readonly Point[];
  /** Name the series where its line ends. */
  readonly endLabel?: string;
}

export interface AxisOptions {
  readonly label: string;
  readonly kind: ScaleKind;
  readonly format: (value: number) => string;
  /** Values that it shows beside those of the points. */
  readonly include?: readonly number[];
}

export interface PlotOptions {
  /** Of its elements in the page. */
  readonly id: string;
  readonly title: string;
  /** What it shows, in a sentence, for who cannot see it. */
  readonly description: string;
  readonly x: AxisOptions;
  readonly y: AxisOptions;
  readonly series: readonly PlotSeries[];
}

/** The plot's own units: text of 13 of them is readable from a telephone's width to a desk's. */
const WIDTH = 480;
const HEIGHT = 340;
const TEXT = 13;
/** Room for a letter, also where the page makes them a little larger. */
const LETTER = 8;
const TOP = 12;
const BOTTOM = 48;
const RIGHT = 16;
/** The y axis's title. */
const TITLE = 22;
const MARKER = 4.5;
/** End labels stand at least this far apart. */
const LINE_HEIGHT = 14;

/** Where values are in a plot's units. */
export interface Layout {
  readonly x: Scale;
  readonly y: Scale;
  readonly left: number;
  readonly right: number;
  readonly placeX: (value: number) => number;
  readonly placeY: (value: number) => number;
}

/** The place of everything in a plot. */
export function layoutOf({ x, y, series }: PlotOptions): Layout {
  const all = series.flatMap(({ points, dots = [] }) => [...points, ...dots]);
  const scaleX = scaleOf(x.kind, [...all.map((point) => point.x), ...(x.include ?? [])]);
  const ends = all.flatMap(({ y: value, deviation = 0 }) =>
    Number.isFinite(deviation) ? [value - deviation, value + deviation] : [value],
  );
  const scaleY = scaleOf(y.kind, [...ends, ...(y.include ?? [])]);
  const letters = Math.max(...scaleY.ticks.map((tick) => y.format(tick).length));
  const labels = Math.max(0, ...series.map(({ endLabel = "" }) => endLabel.length));
  const left = TITLE + letters * LETTER + 8;
  // The last tick's label is centred on it.
  const half = (x.format(scaleX.ticks.at(-1)!).length * LETTER) / 2;
  const right = WIDTH - Math.max(RIGHT, half + 4, labels > 0 ? labels * LETTER + 14 : 0);
  const bottom = HEIGHT - BOTTOM;
  return {
    x: scaleX,
    y: scaleY,
    left,
    right,
    placeX: (value) => left + scaleX.at(value) * (right - left),
    placeY: (value) => bottom - scaleY.at(value) * (bottom - TOP),
  };
}

/** A plot as an SVG element. Points that an axis cannot show, a NaN or a zero on a logarithmic one, are left out. */
export function drawPlot(options: PlotOptions): Markup {
  const { id, title, description, series } = options;
  const layout = layoutOf(options);
  return markup`<svg class="plot" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="${id}-title ${id}-desc">
<title id="${id}-title">${title}</title>
<desc id="${id}-desc">${description}</desc>
${drawAxes(options, layout)}
${series.map((one) => drawDots(one, layout))}
${series.map((one) => drawSeries(one, layout))}
${drawEndLabels(series, layout)}
</svg>
`;
}

const px = (value: number): string => String(Math.round(value * 10) / 10);

function drawAxes({ x, y }: PlotOptions, layout: Layout): Markup {
  const { left, right, placeX, placeY } = layout;
  const bottom = HEIGHT - BOTTOM;
  const middle = (left + right) / 2;
  const height = (TOP + bottom) / 2;
  return markup`<g class="grid">
${layout.y.ticks.map((tick) => markup`<path d="M${px(left)},${px(placeY(tick))}H${px(right)}"/>`)}
${layout.x.ticks.map((tick) => markup`<path d="M${px(placeX(tick))},${bottom}v5"/>`)}
</g>
<path class="axis" d="M${px(left)},${TOP}V${bottom}H${px(right)}"/>
<g class="ticks">
${layout.y.ticks.map((tick) => markup`<text x="${px(left - 7)}" y="${px(placeY(tick) + 4)}" text-anchor="end">${y.format(tick)}</text>`)}
${spaced(layout, x).map((tick) => markup`<text x="${px(placeX(tick))}" y="${bottom + 20}" text-anchor="middle">${x.format(tick)}</text>`)}
</g>
<g class="labels">
<text x="${px(middle)}" y="${HEIGHT - 6}" text-anchor="middle">${x.label}</text>
<text transform="translate(${TEXT},${px(height)}) rotate(-90)" text-anchor="middle">${y.label}</text>
</g>`;
}

/** The ticks of the x axis whose labels have room beside each other. */
function spaced({ x, placeX }: Layout, { format }: AxisOptions): number[] {
  let end = -Infinity;
  return x.ticks.filter((tick) => {
    const half = (format(tick).length * LETTER) / 2;
    if (placeX(tick) - half < end) return false;
    end = placeX(tick) + half + LETTER;
    return true;
  });
}

const isShown = ({ x, y }: Point, layout: Layout): boolean =>
  Number.isFinite(layout.x.at(x)) && Number.isFinite(layout.y.at(y));

function drawDots({ dots = [], color }: PlotSeries, layout: Layout): Content {
  const shown = dots.filter((dot) => isShown(dot, layout));
  if (shown.length === 0) return undefined;
  return markup`<g class="dots" style="--c:${color}">${shown.map(
    ({ x, y }) =>
      markup`<circle cx="${px(layout.placeX(x))}" cy="${px(layout.placeY(y))}" r="2.5"/>`,
  )}</g>
`;
}

function drawSeries(series: PlotSeries, layout: Layout): Markup {
  const { name, color, points, line = false, marker } = series;
  const shown = points.filter((point) => isShown(point, layout));
  return markup`<g class="series" style="--c:${color}" data-series="${name}">
${line ? markup`<path class="line" d="${pathOf(points, layout)}"/>` : undefined}
${shown.map((point) => drawBar(point, layout))}
${marker ? shown.map((point) => drawMarker(point, marker, name, layout)) : undefined}
${shown.map((point) => drawLabel(point, layout))}
</g>
`;
}

/** The line through points as the value of a path's `d`; what an axis cannot show is a gap. */
export function pathOf(points: readonly Point[], layout: Layout): string {
  const parts = points.map((point, index) => {
    if (!isShown(point, layout)) return "";
    const place = `${px(layout.placeX(point.x))},${px(layout.placeY(point.y))}`;
    const [before, after] = [points[index - 1], points[index + 1]];
    if (before && isShown(before, layout)) return `L${place}`;
    // A point without neighbours is a line to itself: its round ends make a dot.
    return after && isShown(after, layout) ? `M${place}` : `M${place}L${place}`;
  });
  return parts.join("");
}

function drawBar({ x, y, deviation = NaN }: Point, layout: Layout): Content {
  if (!(deviation > 0)) return undefined;
  const place = layout.placeX(x);
  const top = layout.placeY(y + deviation);
  const low = layout.placeY(y - deviation);
  // Below a logarithmic axis's end there is no place.
  const bottom = Number.isFinite(low) ? low : HEIGHT - BOTTOM;
  return markup`<path class="bar" d="M${px(place - 4)},${px(top)}h8m-4,0V${px(bottom)}m-4,0h8"/>`;
}

function drawMarker(point: Point, marker: Marker, name: string, layout: Layout): Markup {
  const [x, y] = [layout.placeX(point.x), layout.placeY(point.y)];
  const title = markup`<title>${point.label ?? name}</title>`;
  if (marker === "circle") {
    return markup`<circle cx="${px(x)}" cy="${px(y)}" r="${MARKER}">${title}</circle>`;
  }
  const size = 2 * MARKER;
  return markup`<rect x="${px(x - MARKER)}" y="${px(y - MARKER)}" width="${size}" height="${size}">${title}</rect>`;
}

/** Beside the point, on the side where there is room. */
function drawLabel({ x, y, label }: Point, layout: Layout): Content {
  if (label === undefined) return undefined;
  const place = layout.placeX(x);
  const isLate = place + MARKER + label.length * LETTER > layout.right;
  const [offset, anchor] = isLate ? [-8, "end"] : [8, "start"];
  return markup`<text x="${px(place + offset)}" y="${px(layout.placeY(y) - 7)}" text-anchor="${anchor}">${label}</text>`;
}

/** At the right edge, each as near to the end of its line as the others let it. */
function drawEndLabels(series: readonly PlotSeries[], layout: Layout): Content {
  const labels = series
    .flatMap(({ endLabel, points, color }) => {
      const last = points.findLast((point) => isShown(point, layout));
      if (endLabel === undefined || !last) return [];
      return [{ text: endLabel, color, y: layout.placeY(last.y) }];
    })
    .toSorted((a, b) => a.y - b.y);
  if (labels.length === 0) return undefined;
  const places = spreadApart(
    labels.map(({ y }) => y),
    { distance: LINE_HEIGHT, low: TOP, high: HEIGHT - BOTTOM },
  );
  return markup`<g class="ends">${labels.map(
    ({ text, color }, index) =>
      markup`<text style="--c:${color}" x="${px(layout.right + 10)}" y="${px(places[index]! + 4)}">${text}</text>`,
  )}</g>
`;
}

/** Ascending places, moved as little as needed to keep a distance and, where they fit, to stay in a range. */
export function spreadApart(
  places: readonly number[],
  { distance, low, high }: { distance: number; low: number; high: number },
): number[] {
  const result: number[] = [];
  for (const place of places) {
    result.push(Math.max(place, (result.at(-1) ?? low - distance) + distance));
  }
  for (let i = result.length - 1, limit = high; i >= 0 && result[i]! > limit; i--) {
    result[i] = limit;
    limit -= distance;
  }
  return result;
}

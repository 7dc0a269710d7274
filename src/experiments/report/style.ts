/** @file The style of the report: light and dark, from a telephone's width on. */
import { Markup } from "./markup.ts";

/** From the lowest rank to the highest; each has a contrast of at least 3 : 1 with the page. */
const RAMP = {
  light: ["#12875a", "#1a73c8", "#6246d4", "#b3229c"],
  dark: ["#4fd6a0", "#5bb0f5", "#a596ff", "#f08be0"],
} as const;

const FULL = { light: "#c2410c", dark: "#fb923c" } as const;

/** The style sheet for a number of ranks. */
export function styleSheet(ranks: number): Markup {
  return new Markup(`:root { color-scheme: light dark; ${variables("light", ranks)}
  --page: #ffffff; --ink: #1c1f23; --faint: #5b6470; --rule: #d9dde3; --panel: #f6f7f9; }
@media (prefers-color-scheme: dark) {
  :root { ${variables("dark", ranks)}
    --page: #14171b; --ink: #e6e8eb; --faint: #a0a8b3; --rule: #343a42; --panel: #1c2026; }
}
${RULES}`);
}

function variables(theme: "light" | "dark", ranks: number): string {
  const colors = Array.from(
    { length: ranks },
    (_, index) =>
      `--rank-${index}: ${between(RAMP[theme], ranks === 1 ? 0.5 : index / (ranks - 1))};`,
  );
  return `--full: ${FULL[theme]}; ${colors.join(" ")}`;
}

/** A colour of a ramp; place: 0 at its beginning, 1 at its end. */
function between(ramp: readonly string[], place: number): string {
  const scaled = place * (ramp.length - 1);
  const index = Math.min(ramp.length - 2, Math.floor(scaled));
  const [from, to] = [ramp[index]!, ramp[index + 1]!];
  const channels = [1, 3, 5].map((at) => {
    const [a, b] = [from, to].map((color) => Number.parseInt(color.slice(at, at + 2), 16));
    const value = Math.round(a! + (b! - a!) * (scaled - index));
    return value.toString(16).padStart(2, "0");
  });
  return `#${channels.join("")}`;
}

const RULES = `* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p, li { max-width: 46rem; }
p { margin: .5rem 0; }
a { color: inherit; }
code { overflow-wrap: anywhere; }
.faint, figcaption, dt { color: var(--faint); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1.25rem; margin-top: 1rem; }
figure { margin: 0; padding: .9rem; border: 1px solid var(--rule); border-radius: .5rem; background: var(--panel); min-width: 0; }
figure h3 { margin: 0; font-size: 1rem; }
figcaption { font-size: .9rem; line-height: 1.45; margin: .15rem 0 .6rem; }
.plot { display: block; width: 100%; height: auto; font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; }
.plot text { fill: var(--ink); }
.plot .ticks text { fill: var(--faint); }
.plot .grid path { stroke: var(--rule); fill: none; }
.plot .axis { stroke: var(--faint); fill: none; }
.series { fill: var(--c); stroke: none; }
.series .line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.series .bar { fill: none; stroke: var(--c); stroke-width: 1.5; }
.series circle, .series rect { stroke: var(--panel); stroke-width: 1; }
.plot .series text, .plot .ends text { fill: var(--c); font-weight: 600; stroke: var(--panel); stroke-width: 4; paint-order: stroke; }
.dots { fill: var(--c); opacity: .45; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem .9rem; list-style: none; margin: .5rem 0 0; padding: 0; font-size: .9rem; }
.legend svg { width: 1.4rem; height: .7rem; margin-right: .35rem; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--full); outline-offset: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--faint); font-weight: 600; }
tbody th { font-weight: 400; }
details { margin: .6rem 0 0; font-size: .92rem; }
summary { cursor: pointer; color: var(--faint); }
.failures { border-left: 4px solid var(--full); padding: .1rem 0 .1rem 1rem; margin: 1rem 0; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .25rem 1rem; margin: .5rem 0; max-width: 60rem; }
dd { margin: 0; overflow-wrap: anywhere; }
select { font: inherit; max-width: 100%; background: var(--page); color: var(--ink); border: 1px solid var(--rule);
  border-radius: .3rem; padding: .2rem .4rem; }
@media (max-width: 30rem) { .plot { font-size: 15.5px; } figure { padding: .6rem; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }`;

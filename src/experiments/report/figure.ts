/** @file Figures and tables of the report as HTML: a plot with its heading, what it shows, its legend and its numbers. */
import { markup, scriptJson, type Content, type Markup } from "./markup.ts";
import { drawPlot, type PlotOptions } from "./plot.ts";
import type { TextTable } from "./tables.ts";

export interface FigureOptions {
  readonly plot: PlotOptions;
  readonly heading: string;
  readonly caption: Content;
  /** The numbers behind the plot. */
  readonly table: TextTable;
  /** Between heading and plot: controls. */
  readonly controls?: Markup;
}

/** A plot with everything around it. */
export function figure({ plot, heading, caption, table, controls }: FigureOptions): Markup {
  return markup`<figure id="${plot.id}">
<h3>${heading}</h3>
<figcaption>${caption}</figcaption>
${controls}
${drawPlot(plot)}
${legend(plot)}
<details><summary>Numbers</summary>${htmlTable(table, `Numbers of the plot: ${heading}`)}</details>
</figure>
`;
}

function legend({ series }: PlotOptions): Markup {
  return markup`<ul class="legend">${series.map(
    ({ name, color, line, marker }) => markup`
<li><svg viewBox="0 0 28 14" aria-hidden="true"><g class="series" style="--c:${color}">${
      line ? markup`<path class="line" d="M0,7H28"/>` : undefined
    }${
      marker === "square"
        ? markup`<rect x="9.5" y="2.5" width="9" height="9"/>`
        : marker === "circle"
          ? markup`<circle cx="14" cy="7" r="4.5"/>`
          : undefined
    }</g></svg>${name}</li>`,
  )}
</ul>`;
}

/** A table whose first column names the rows; it scrolls by itself where it is too wide. */
export function htmlTable({ columns, rows }: TextTable, label: string): Markup {
  return markup`<div class="scroll" role="region" aria-label="${label}" tabindex="0"><table>
<thead><tr>${columns.map((column) => markup`<th scope="col">${column}</th>`)}</tr></thead>
<tbody>
${rows.map(
  ([first, ...others]) =>
    markup`<tr><th scope="row">${first}</th>${others.map((cell) => markup`<td>${cell}</td>`)}</tr>
`,
)}</tbody>
</table></div>`;
}

export interface Choice {
  readonly name: string;
  readonly paths: readonly string[];
}

/** A list that shows other lines in a plot. It appears where scripts run; without, the plot stays as it was drawn. */
export function chooser(plot: PlotOptions, first: string, choices: readonly Choice[]): Markup {
  return markup`<p id="${plot.id}-chooser" hidden><label>Matrix <select>
<option>${first}</option>
${choices.map(({ name }) => markup`<option>${name}</option>`)}
</select></label></p>
<script type="application/json" id="${plot.id}-choices">${scriptJson(choices.map(({ paths }) => paths))}</script>
`;
}

/** Lets the chooser of a plot work: the first entry is what was drawn. */
export const chooserScript = (plot: PlotOptions): Markup => markup`<script>
{
  const id = ${scriptJson(plot.id)};
  const choices = JSON.parse(document.getElementById(id + "-choices").textContent);
  const groups = [...document.querySelectorAll("#" + id + " .plot .series")];
  const drawn = groups.map((group) => group.querySelector(".line").getAttribute("d"));
  const chooser = document.getElementById(id + "-chooser");
  const select = chooser.querySelector("select");
  const show = () => {
    const paths = select.selectedIndex === 0 ? drawn : choices[select.selectedIndex - 1];
    groups.forEach((group, index) => {
      group.querySelector(".line").setAttribute("d", paths[index]);
      const text = group.querySelector("text");
      const end = paths[index].split(/[ML]/).pop().split(",");
      if (!text || end.length < 2) return;
      text.setAttribute("x", text.getAttribute("text-anchor") === "end" ? end[0] - 8 : Number(end[0]) + 8);
      text.setAttribute("y", end[1] - 7);
    });
  };
  chooser.hidden = false;
  select.addEventListener("change", show);
  show();
}
</script>`;

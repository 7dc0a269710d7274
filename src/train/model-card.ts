/** @file The card of what was trained: README.md as the Hugging Face hub expects it.
 * Source: https://huggingface.co/docs/hub/model-cards */
import { kebabCase } from "../format.ts";
import type { Metrics, MetricTable } from "../tasks/task.ts";
import { foreignOptions } from "./options.ts";
import type { OutputContents } from "./output.ts";

/** Options that tell nothing about how the adapter came about. */
const NOT_SHOWN = new Set(["output", "overwrite", "device", "threads", "model"]);

/** The library that loads each kind of directory. */
const LIBRARIES = { adapter: "peft", delta: "lowrank", model: "transformers" } as const;

/** The text of README.md. `name`: the adapter's directory. */
export function modelCard(name: string, contents: OutputContents): string {
  const { base, method, task, options, result } = contents;
  const sections = [
    frontMatter(contents),
    `# ${name}`,
    `${method.title} for ${task.name} (${base.family.modelType}), trained with Lowrank on the base model \`${options.model}\`.`,
    result?.metrics ? results(result.metrics, contents) : "",
    "## Use",
    code("sh", `lowrank predict --adapter ${name} ${flags(task.fields)}`),
    code(
      "ts",
      [
        'import { Predictor } from "lowrank";',
        "",
        `const predictor = await Predictor.load(${JSON.stringify(name)});`,
        `console.log(await predictor.predict([${input(task.fields)}]));`,
      ].join("\n"),
    ),
    method.usage,
    "## Training",
    training(contents),
    markdownTable({ title: "", columns: ["option", "value"], rows: shownOptions(contents) }),
  ];
  return `${sections.filter((section) => section !== "").join("\n\n")}\n`;
}

function frontMatter({ method, task, options }: OutputContents): string {
  const base = JSON.stringify(options.model); // A JSON string is a YAML string.
  const tags = [...method.tags, "lowrank"].map((tag) => `  - ${tag}`);
  return [
    "---",
    `base_model: ${base}`,
    `library_name: ${LIBRARIES[method.saves]}`,
    `pipeline_tag: ${task.pipelineTag}`,
    "tags:",
    ...tags,
    "---",
  ].join("\n");
}

function results(metrics: Metrics, { task, validationExamples, options }: OutputContents): string {
  const source = options.validationData === undefined ? "held-out examples" : "validation examples";
  const scalars = Object.entries(metrics.scalars);
  return [
    "## Results",
    `On ${validationExamples} ${source}:`,
    markdownTable({ title: "", columns: ["metric", "value"], rows: scalars }),
    ...task.tables(metrics).map((table) => `### ${table.title}\n\n${markdownTable(table)}`),
  ].join("\n\n");
}

function training({ options, trainExamples, result }: OutputContents): string {
  const data = `Trained on ${trainExamples} examples of \`${options.data}\``;
  if (!result) return `${data}: not yet.`;
  const end = result.reason === "completed" ? "" : ` (${result.reason})`;
  return `${data}, ${result.steps} steps${end}; what is kept is of step ${result.keptStep}.`;
}

function shownOptions({ options }: OutputContents): [string, string][] {
  const hidden = new Set([...NOT_SHOWN, ...foreignOptions(options)]);
  return Object.entries(options)
    .filter(([key, value]) => !hidden.has(key) && value !== null && value !== undefined)
    .map(([key, value]) => [key, typeof value === "string" ? value : JSON.stringify(value)]);
}

/** --question "Some text" --context "Some text" */
function flags(fields: readonly string[]): string {
  return fields.map((field) => `--${kebabCase(field)} "Some text"`).join(" ");
}

/** An input of `predict`: a text, or an object of several. */
function input(fields: readonly string[]): string {
  if (fields.length === 1) return '"Some text"';
  return `{ ${fields.map((field) => `${field}: "Some text"`).join(", ")} }`;
}

function code(language: string, text: string): string {
  return `\`\`\`${language}\n${text}\n\`\`\``;
}

function markdownTable({ columns, rows }: MetricTable): string {
  const separator = columns.map(() => "---");
  return [columns, separator, ...rows]
    .map((cells) => `| ${cells.map(cell).join(" | ")} |`)
    .join("\n");
}

function cell(value: string | number): string {
  if (typeof value === "number") return Number.isInteger(value) ? `${value}` : value.toFixed(4);
  return value.replaceAll("|", "\\|").replaceAll("\n", " ");
}

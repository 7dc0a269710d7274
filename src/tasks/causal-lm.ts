/** @file Causal language modelling: the next token of texts, or of completions after prompts. Evaluations bring
 * back one number for each row, never the logits. */
import { z } from "zod";
import { findColumn, findOptionalColumn, textValues } from "../data/columns.ts";
import type { Table } from "../data/table.ts";
import { IGNORED_LABEL } from "../ops/functional.ts";
import { sum } from "../ops/reduce.ts";
import { collateTokens, tokenRows } from "./collate.ts";
import { fieldTexts } from "./inputs.ts";
import { completionExample, textExamples, type LanguageExample } from "./language/examples.ts";
import { rowLosses } from "./language/loss.ts";
import { LABELS, objectiveOf } from "./objectives.ts";
import type { Columns } from "./options.ts";
import { knownColumns, parseState } from "./state.ts";
import type { Encoder, Examples, Input, Metrics, MetricTable, Task, TaskKind } from "./task.ts";

const stateSchema = z.object({
  /** Texts, all of which is learned, or prompts and completions, of which the completions are. Of a model from elsewhere
   * either: what a table has. */
  format: z.enum(["text", "completion", "either"]),
  /** Columns of the training data, tried first in other files. */
  textColumn: z.string().optional(),
  promptColumn: z.string().optional(),
  completionColumn: z.string().optional(),
});

type State = z.infer<typeof stateSchema>;
type Format = Exclude<State["format"], "either">;
type Field = "text" | "prompt" | "completion";

const FIELDS: Readonly<Record<Format, readonly Field[]>> = {
  text: ["text"],
  completion: ["prompt", "completion"],
};

/** How well a text, or a completion after its prompt, is predicted. */
export interface LanguagePrediction {
  /** Sum of -log p over the predicted tokens, natural logarithm. */
  readonly nll: number;
  /** exp(nll / tokens); 1 where no token is predicted. */
  readonly perplexity: number;
  /** nll / (bytes · log 2); 0 where no byte is predicted. */
  readonly bitsPerByte: number;
  /** Predicted tokens: all but a first one without a token before it; the end of the text is one. */
  readonly tokens: number;
}

export const causalLm: TaskKind<"causal-lm"> = {
  type: "CAUSAL_LM",
  name: "causal-lm",
  aliases: ["clm", "language-modeling", "text-generation"],
  options: ["textColumn", "promptColumn", "completionColumn"],
  keepsBaseHead: true,

  strata: (table) => table.rows.map(() => 0),

  create(table, options) {
    return makeTask(formatOf(table, options));
  },

  restore: (state, where) =>
    makeTask(parseState(stateSchema, state, "causal language modelling", where)),

  fromConfig: () => makeTask({ format: "either" }),
};

/** What the columns of training data hold. The user's word comes first, then a column named text, then
 * prompts with completions. */
function formatOf(table: Table, columns: Columns): State & { format: Format } {
  const { textColumn, promptColumn, completionColumn } = columns;
  const isAsked = promptColumn !== undefined || completionColumn !== undefined;
  if (textColumn === undefined && (isAsked || !table.columns.includes("text"))) {
    const find = isAsked ? findColumn : findOptionalColumn;
    const prompt = find(table, "prompt", promptColumn);
    const completion = find(table, "completion", completionColumn);
    if (prompt !== undefined && completion !== undefined) {
      return { format: "completion", promptColumn: prompt, completionColumn: completion };
    }
  }
  return { format: "text", textColumn: findColumn(table, "text", textColumn) };
}

function makeTask(state: State): Task<LanguageExample, number, LanguagePrediction> {
  const { format } = state;
  const objective = objectiveOf("CAUSAL_LM");

  const readInputs = (table: Table, columns?: Columns): Input[] => {
    const known = knownColumns(table, state, columns);
    const own = format === "either" ? formatOf(table, known).format : format;
    const fields = FIELDS[own];
    const values = fields.map((field) =>
      textValues(table, findColumn(table, field, known[`${field}Column`])),
    );
    return table.rows.map((_, row) =>
      Object.fromEntries(fields.map((field, i) => [field, values[i]![row]])),
    );
  };

  return {
    type: "CAUSAL_LM",
    name: causalLm.name,
    pipelineTag: "text-generation",
    modelConfig: {},
    state,
    details: { ...state },
    metricNames: ["perplexity", "bitsPerByte"],
    lowerIsBetter: ["perplexity", "bitsPerByte"],
    bestMetric: "loss",
    fields: FIELDS[format === "either" ? "text" : format],

    readExamples(table, encoder, columns) {
      const inputs = readInputs(table, columns);
      if (!table.isRunningText) return examplesOf(inputs, format, encoder);
      const text = inputs.map((input) => `${input["text"]}\n`).join("");
      return { examples: textExamples(text, encoder, 0, false), truncated: 0 };
    },
    readInputs,
    inputExamples: (inputs, encoder) => examplesOf(inputs, format, encoder),

    collate: (examples, shape, padTokenId) => ({
      ...collateTokens(examples, shape, padTokenId),
      [LABELS]: tokenRows(examples, shape, IGNORED_LABEL, ({ labels }) => labels),
    }),
    build(model, shape, inputs) {
      const nll = rowLosses(model, shape, inputs);
      return { results: { nll }, lossSum: sum(nll) };
    },
    countLabels: (feeds) => objective.countLabels(feeds),
    decode: ({ nll }, row) => nll!.data[row] as number,
    metrics: metricsOf,
    predictions(inputs, examples, results) {
      const totals = inputs.map(() => ({ nll: 0, tokens: 0, bytes: 0 }));
      for (const [i, { source, tokens, bytes }] of examples.entries()) {
        const own = totals[source]!;
        own.nll += results[i]!;
        own.tokens += tokens;
        own.bytes += bytes;
      }
      return totals.map(({ nll, tokens, bytes }) => ({
        nll,
        perplexity: perplexity(nll, tokens),
        bitsPerByte: bitsPerByte(nll, bytes),
        tokens,
      }));
    },
    lines: ({ perplexity: value, nll, tokens }) => [[value, nll, tokens]],
    tables,
  };
}

function examplesOf(
  inputs: readonly Input[],
  format: State["format"],
  encoder: Encoder,
): Examples<LanguageExample> {
  const given: Format = inputs[0]?.["completion"] === undefined ? "text" : "completion";
  const fields = FIELDS[format === "either" ? given : format];
  const [first = [], second] = fields.map((field) => fieldTexts(inputs, field));
  if (!second) {
    const examples = first.flatMap((text, i) => textExamples(text, encoder, i, true));
    return { examples, truncated: 0 };
  }
  const rows = first.map((prompt, i) => completionExample(prompt, second[i]!, encoder, i));
  return {
    examples: rows.map(({ example }) => example),
    truncated: rows.filter(({ isCut }) => isCut).length,
  };
}

function metricsOf(examples: readonly LanguageExample[], results: readonly number[]): Metrics {
  const nll = total(results);
  const tokens = total(examples.map((example) => example.tokens));
  const bytes = total(examples.map((example) => example.bytes));
  return {
    scalars: { perplexity: perplexity(nll, tokens), bitsPerByte: bitsPerByte(nll, bytes) },
    details: { tokens, bytes: Math.round(bytes) },
  };
}

function total(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}

/** exp of the mean; what is beyond the largest number is that, so that it stays one in JSON. */
function perplexity(nll: number, tokens: number): number {
  return tokens === 0 ? 1 : Math.min(Math.exp(nll / tokens), Number.MAX_VALUE);
}

function bitsPerByte(nll: number, bytes: number): number {
  return bytes === 0 ? 0 : nll / Math.LN2 / bytes;
}

function tables({ details: { tokens, bytes } }: Metrics): MetricTable[] {
  return [
    {
      title: "Predicted",
      columns: ["tokens", "bytes"],
      rows: [[tokens as number, bytes as number]],
    },
  ];
}

/** @file Sequence classification: a label, several labels or a number for a text or a pair of texts. What is
 * predicted is in sequence/, one file each; this is what they have in common. */
import type { Table } from "../data/table.ts";
import { modelInputs } from "../models/inputs.ts";
import { collateTokens } from "./collate.ts";
import { labelsOfHead } from "./head-labels.ts";
import { LABELS, objectiveOf, type ProblemType } from "./objectives.ts";
import type { Columns } from "./options.ts";
import { chooseProblem, findLabelColumns, PROBLEMS } from "./sequence/choose.ts";
import { stateSchema, type State } from "./sequence/problem.ts";
import type { ClassificationPrediction } from "./sequence/single-label.ts";
import { parseState } from "./state.ts";
import {
  encodeInputs,
  findTextColumns,
  readTexts,
  TEXT,
  TEXT_PAIR,
  type SequenceExample,
} from "./sequence/texts.ts";
import type { Task, TaskKind } from "./task.ts";

export type { ClassificationDetails, ClassificationPrediction } from "./sequence/single-label.ts";
export type { MultiLabelDetails, MultiLabelPrediction } from "./sequence/multi-label.ts";
export type { RegressionDetails, RegressionPrediction } from "./sequence/regression.ts";
export type { SequenceExample } from "./sequence/texts.ts";

export const sequenceClassification: TaskKind<"sequence-classification"> = {
  type: "SEQ_CLS",
  name: "sequence-classification",
  aliases: ["text-classification"],
  options: [
    "textColumn",
    "textPairColumn",
    "labelColumn",
    "problemType",
    "labelSeparator",
    "threshold",
    "classWeights",
  ],

  strata(table, options) {
    const labelColumns = findLabelColumns(table, options.labelColumn);
    return chooseProblem(table, labelColumns, options).strata(table, labelColumns, options);
  },

  create(table, options, head) {
    const textColumns = findTextColumns(table, options);
    const labelColumns = findLabelColumns(table, options.labelColumn);
    const problem = chooseProblem(table, labelColumns, options);
    const { state, warnings = [] } = problem.define(table, labelColumns, options, head);
    return makeTask({ ...state, ...textColumns, labelColumn: labelColumns.join(",") }, warnings);
  },

  restore: (state, where) =>
    makeTask(parseState(stateSchema, state, "sequence classification", where)),

  fromConfig(config, headRows) {
    const labels = labelsOfHead(config, headRows);
    return makeTask({ labels, problemType: problemTypeOf(config, headRows) });
  },
};

/** As transformers decides without a word in the configuration: one output is a number. */
function problemTypeOf(config: Readonly<Record<string, unknown>>, headRows: number): ProblemType {
  const named = stateSchema.shape.problemType.safeParse(config["problem_type"] ?? undefined);
  if (named.success && config["problem_type"] != null) return named.data;
  return headRows === 1 ? "regression" : "single_label_classification";
}

/** P is what the state's problem predicts. */
function makeTask(
  state: State,
  warnings: readonly string[] = [],
): Task<SequenceExample, Float32Array, ClassificationPrediction> {
  const { labels, classWeights, problemType } = state;
  const isPair = state.textPairColumn !== undefined;
  const problem = Object.values(PROBLEMS)
    .find(({ type }) => type === problemType)!
    .make(state);
  const objective = objectiveOf("SEQ_CLS", { problemType, classWeights });

  return {
    type: "SEQ_CLS",
    name: sequenceClassification.name,
    pipelineTag: "text-classification",
    modelConfig: {
      id2label: Object.fromEntries(labels.entries()),
      label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
      num_labels: labels.length,
      problem_type: problemType,
    },
    state,
    details: {
      ...problem.details,
      ...(isPair ? { pairs: [state.textColumn, state.textPairColumn] } : {}),
    },
    warnings,
    metricNames: problem.metricNames,
    lowerIsBetter: problem.lowerIsBetter ?? [],
    bestMetric: problem.bestMetric,
    fields: isPair ? [TEXT, TEXT_PAIR] : [TEXT],
    settings: problem.settings ?? [],

    readExamples(table, encoder, columns) {
      const targets = problem.targets(table, labelColumnsOf(table, state, columns));
      return encodeInputs(readTexts(table, state, columns), targets, encoder, isPair);
    },
    readInputs: (table, columns) => readTexts(table, state, columns),
    inputExamples(inputs, encoder) {
      const targets = inputs.map(() => problem.unknown);
      return encodeInputs(inputs, targets, encoder, isPair);
    },

    collate: (examples, shape, padTokenId) => ({
      ...collateTokens(examples, shape, padTokenId),
      [LABELS]: problem.feed(
        examples.map(({ target }) => target),
        shape.batch,
      ),
    }),
    build(model, shape, inputs) {
      const given = modelInputs(shape, { tokenTypes: isPair, ...inputs });
      const { outputs, lossSum } = objective.build(model.forward(given));
      return { results: outputs, lossSum };
    },
    countLabels: (feeds) => objective.countLabels(feeds),
    decode: ({ logits }, row) =>
      (logits!.data as Float32Array).slice(row * labels.length, (row + 1) * labels.length),
    metrics: (examples, results) =>
      problem.metrics(
        examples.map(({ target }) => target),
        results,
      ),
    predictions: (_, __, results) => results.map((logits) => problem.prediction(logits)),
    lines: (prediction) => [problem.cells(prediction)],
    tables: (metrics) => problem.tables(metrics),
  };
}

/** The label columns of labelled data: those named, those of training where the table has them, or the one
 * with a usual name. */
function labelColumnsOf(table: Table, state: State, columns: Columns = {}): string[] {
  const known = state.labelColumn;
  const isThere =
    known !== undefined &&
    (table.columns.includes(known) ||
      known.split(",").every((name) => table.columns.includes(name)));
  return findLabelColumns(table, columns.labelColumn ?? (isThere ? known : undefined));
}

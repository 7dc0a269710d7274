/** @file Question answering: the part of a text that answers a question about it, or that there is none.
 * Source: Devlin et al. 2018, section 4.2 and 4.3, https://arxiv.org/abs/1810.04805 */
import { z } from "zod";
import type { Table } from "../data/table.ts";
import { LowrankError } from "../errors.ts";
import { modelInputs } from "../models/inputs.ts";
import { collateTokens, rowValues } from "./collate.ts";
import { fieldTexts } from "./inputs.ts";
import { END_POSITIONS, objectiveOf, START_POSITIONS } from "./objectives.ts";
import { MAX_N_BEST, settingsOf, taskSettings } from "./options.ts";
import {
  encodeQuestions,
  NO_POSITION,
  type Question,
  type WindowExample,
} from "./questions/encode.ts";
import {
  answerOf,
  byQuestion,
  cells,
  predictionOf,
  textOf,
  type AnswerPrediction,
} from "./questions/answer.ts";
import { answerMetrics, metricTables, type AnswerMetrics } from "./questions/metrics.ts";
import { contextGroups, findQuestionColumns, readInputs, readQuestions } from "./questions/read.ts";
import { bestTokens, type WindowResult } from "./questions/spans.ts";
import { knownColumns, parseState } from "./state.ts";
import type { Input, Task, TaskKind } from "./task.ts";

export type { AnswerCandidate, AnswerPrediction } from "./questions/answer.ts";

const stateSchema = z.object({
  /** Columns of the training data, tried first in other files. */
  questionColumn: z.string().optional(),
  contextColumn: z.string().optional(),
  answersColumn: z.string().optional(),
  answerStartColumn: z.string().optional(),
  stride: taskSettings.stride,
  maxAnswerTokens: taskSettings.maxAnswerTokens,
  /** Absent: there is always an answer. */
  nullThreshold: taskSettings.nullThreshold,
  dropTokenTypes: taskSettings.dropTokenTypes,
  nBest: z.number().int().min(1).max(MAX_N_BEST).default(1),
});

type State = z.infer<typeof stateSchema>;

type QuestionAnsweringTask = Task<WindowExample, WindowResult, AnswerPrediction>;

export const questionAnswering: TaskKind<"question-answering"> = {
  type: "QUESTION_ANS",
  name: "question-answering",
  aliases: ["qa", "extractive-qa"],
  options: [
    "questionColumn",
    "contextColumn",
    "answersColumn",
    "answerStartColumn",
    "stride",
    "maxAnswerTokens",
    "nullThreshold",
    "dropTokenTypes",
  ],

  strata: (table) => table.rows.map(() => 0),
  groups: contextGroups,

  create(table, options) {
    const { questions, warnings } = readQuestions(table, options);
    if (!questions.some(({ target }) => typeof target === "object")) {
      const why = warnings[0] ?? `${table.file}: no question has an answer.`;
      throw new LowrankError("data", `${why} There is no answer to learn from.`);
    }
    const { stride, maxAnswerTokens, dropTokenTypes, nullThreshold } = settingsOf(options);
    const hasUnanswerable = questions.some(({ target }) => target === "none");
    return makeTask({
      ...findQuestionColumns(table, options),
      stride,
      maxAnswerTokens,
      dropTokenTypes,
      nullThreshold: nullThreshold ?? (hasUnanswerable ? 0 : undefined),
      nBest: 1,
    });
  },

  restore: (state, where) => makeTask(parseState(stateSchema, state, "question answering", where)),

  // PEFT trains without token types.
  fromConfig: () => makeTask(stateSchema.parse({ dropTokenTypes: true })),
};

function makeTask(state: State): QuestionAnsweringTask {
  const objective = objectiveOf("QUESTION_ANS");
  const { stride, maxAnswerTokens, dropTokenTypes, nullThreshold } = state;

  return {
    type: "QUESTION_ANS",
    name: questionAnswering.name,
    pipelineTag: "question-answering",
    // Two outputs, whatever labels the base has.
    modelConfig: { num_labels: 2, id2label: { 0: "LABEL_0", 1: "LABEL_1" } },
    state,
    details: {
      stride,
      maxAnswerTokens,
      dropTokenTypes,
      ...(nullThreshold === undefined ? {} : { nullThreshold }),
    },
    metricNames: ["exactMatch", "f1"],
    bestMetric: "f1",
    fields: ["question", "context"],
    settings: ["stride", "maxAnswerTokens", "nullThreshold", "nBest"],

    readExamples(table, encoder, columns) {
      const { questions, warnings } = readQuestions(table, knownColumns(table, state, columns));
      const { examples, truncated } = encodeQuestions(questions, encoder, stride);
      return { examples, truncated, warnings: [...warnings, ...tooLong(table, examples, state)] };
    },
    readInputs: (table, columns) => readInputs(table, knownColumns(table, state, columns)),
    inputExamples: (inputs, encoder) => encodeQuestions(unlabelled(inputs), encoder, stride),

    collate(examples, shape, padTokenId) {
      const positions = (values: number[]) => rowValues(values, shape.batch, NO_POSITION);
      return {
        ...collateTokens(examples, shape, padTokenId),
        [START_POSITIONS]: positions(examples.map(({ start }) => start)),
        [END_POSITIONS]: positions(examples.map(({ end }) => end)),
      };
    },
    build(model, shape, inputs) {
      const given = modelInputs(shape, { tokenTypes: !dropTokenTypes, ...inputs });
      const { outputs, lossSum } = objective.build(model.forward(given));
      return { results: outputs, lossSum };
    },
    countLabels: (feeds) => objective.countLabels(feeds),
    decode({ start_logits: starts, end_logits: ends }, row, { from, count, place }) {
      const [, length] = starts!.shape as [number, number];
      const window = (logits: Float32Array): Float32Array =>
        logits.subarray(row * length + place, row * length + place + count);
      const [start, end] = [starts!.data, ends!.data] as [Float32Array, Float32Array];
      return {
        starts: bestTokens(window(start), from),
        ends: bestTokens(window(end), from),
        nullScore: start[row * length]! + end[row * length]!,
      };
    },
    metrics(examples, results) {
      const all = byQuestion(examples, results).map((windows) => {
        const { verdict, span } = answerOf(windows, state);
        const text = textOf(windows.question);
        return {
          gold: windows.question.answers,
          answer: text(span),
          bestAnswer: text(verdict.best),
          nullDifference: verdict.nullDifference,
        };
      });
      const details = answerMetrics(all);
      const { exactMatch, f1 } = details.all;
      return { scalars: { exactMatch, f1 }, details: { ...details } };
    },
    predictions: (_, examples, results) =>
      byQuestion(examples, results).map((windows) =>
        predictionOf(windows.question, answerOf(windows, state), state),
      ),
    lines: ({ nBest: several, ...best }) => (several ?? [best]).map(cells),
    tables: ({ details }) => metricTables(details as unknown as AnswerMetrics),
  };
}

function unlabelled(inputs: readonly Input[]): Question[] {
  const contexts = fieldTexts(inputs, "context");
  return fieldTexts(inputs, "question").map((question, index) => {
    for (const [field, text] of Object.entries({ question, context: contexts[index]! })) {
      if (text.trim() !== "") continue;
      throw new LowrankError(
        "data",
        `input ${index + 1}: ${field}: expected a text, got an empty one. Pass a question and a context for it.`,
      );
    }
    return { question, context: contexts[index]!, answers: [] };
  });
}

/** Answers that are learned but never predicted. */
function tooLong(
  { file }: Table,
  examples: readonly WindowExample[],
  { maxAnswerTokens }: State,
): string[] {
  const long = examples.filter(({ start, end }) => end - start >= maxAnswerTokens);
  const { size } = new Set(long.map(({ question }) => question));
  if (size === 0) return [];
  return [
    `${file}: answers of more than ${maxAnswerTokens} tokens, which are never predicted: ${size}. ` +
      "Choose a larger maxAnswerTokens.",
  ];
}

/** @file Token classification: a tag for each word of a text, and the entities that the tags mark (named-entity
 * recognition). Reading, encoding and measuring are in entities/, one file each.
 * Source: Devlin et al. 2018, section 5.3, https://arxiv.org/abs/1810.04805 */
import { z } from "zod";
import { show, summarize } from "../data/table.ts";
import { LowrankError } from "../errors.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { modelInputs } from "../models/inputs.ts";
import { IGNORED_LABEL } from "../ops/functional.ts";
import { collateTokens, tokenRows } from "./collate.ts";
import {
  encodeSentences,
  joinWindows,
  type LabelledSentence,
  type SentenceExample,
  type WindowLabels,
  type WordLabels,
} from "./entities/encode.ts";
import { labelSpace, wordClassWeights, type LabelSpace } from "./entities/labels.ts";
import { entityMetrics, metricTables, type EntityMetrics } from "./entities/metrics.ts";
import {
  findTagColumns,
  readInputs,
  readTagged,
  sentenceOf,
  type Sentence,
  type TaggedSentences,
} from "./entities/read.ts";
import { SPAN_UNITS } from "./entities/spans.ts";
import { entitiesOf, labelsOf, type Tag } from "./entities/tags.ts";
import { LABELS, objectiveOf } from "./objectives.ts";
import { labelsOfHead, placeLabels } from "./head-labels.ts";
import { settingsOf, taskSettings } from "./options.ts";
import { knownColumns, parseState } from "./state.ts";
import type { Task, TaskKind } from "./task.ts";

/** An entity in a text. */
export interface PredictedEntity {
  readonly text: string;
  readonly type: string;
  /** In UTF-16 units: `text.slice(start, end)` of the input's text, or of its tokens with spaces between. */
  readonly start: number;
  readonly end: number;
  /** Mean probability of its words' tags. */
  readonly score: number;
}

export interface EntityPrediction {
  /** In the order of the text. */
  readonly entities: readonly PredictedEntity[];
  /** One for each token, where the input has tokens. */
  readonly tags?: readonly string[];
}

const stateSchema = z.object({
  /** In the order of their ids: O, B-person, I-person, …. */
  labels: z.array(z.string()).min(1),
  /** How the training data is written. */
  written: z.string().optional(),
  /** Columns of the training data, tried first in other files. */
  tokensColumn: z.string().optional(),
  tagsColumn: z.string().optional(),
  textColumn: z.string().optional(),
  spansColumn: z.string().optional(),
  tagNames: z.array(z.string()).optional(),
  spanUnit: z.enum(SPAN_UNITS),
  labelAllTokens: z.boolean(),
  stride: taskSettings.stride,
  /** Weight of each label in the loss. */
  classWeights: z.array(z.number()).optional(),
});

type State = z.infer<typeof stateSchema>;
type TokenClassificationTask = Task<SentenceExample, WindowLabels, EntityPrediction>;

export const tokenClassification: TaskKind<"token-classification"> = {
  type: "TOKEN_CLS",
  name: "token-classification",
  aliases: ["ner", "token-cls"],
  options: [
    "tokensColumn",
    "tagsColumn",
    "textColumn",
    "spansColumn",
    "classWeights",
    "stride",
    "labelAllTokens",
    "tagScheme",
    "tagNames",
    "spanUnit",
  ],

  strata(table, options) {
    const types = new Map<string | undefined, number>();
    const { sentences } = readTagged(table, {
      ...settingsOf(options),
      ...findTagColumns(table, options),
    });
    return sentences.map(({ entities }) => {
      const type = entities[0]?.type;
      if (!types.has(type)) types.set(type, types.size);
      return types.get(type)!;
    });
  },

  create(table, options, head) {
    const { tagScheme, tagNames, spanUnit, labelAllTokens, stride, classWeights } =
      settingsOf(options);
    const columns = findTagColumns(table, options);
    const tagged = readTagged(table, { tagNames, spanUnit, ...columns });
    const found = tagged.sentences.flatMap(({ entities }) => entities.map(({ type }) => type));
    const types = [...new Set(found)].sort();
    if (types.length === 0) {
      throw new LowrankError(
        "data",
        `${table.file}: expected entities to learn, got none: every token is outside. ` +
          "Choose the column of tags with tagsColumn.",
      );
    }
    const labels = placeLabels(labelsOf(types, tagScheme), head);
    const space = labelSpace(labels);
    return makeTask({
      labels,
      written: tagged.scheme,
      ...columns,
      tagNames,
      spanUnit,
      labelAllTokens,
      stride,
      classWeights:
        classWeights === "balanced"
          ? wordClassWeights(labelled(tagged, space), labels.length)
          : undefined,
    });
  },

  restore: (state, where) =>
    makeTask(parseState(stateSchema, state, "token classification", where)),

  fromConfig(config, headRows) {
    const labels = labelsOfHead(config, headRows);
    const { labelAllTokens, spanUnit, stride } = settingsOf({});
    return makeTask({ labels, labelAllTokens, spanUnit, stride });
  },
};

function makeTask(state: State): TokenClassificationTask {
  const { labels, classWeights, labelAllTokens, stride, written, spanUnit, tagNames } = state;
  const space = labelSpace(labels);
  const objective = objectiveOf("TOKEN_CLS", { classWeights });
  const encoding = { stride, inner: labelAllTokens ? space.inner : undefined };

  return {
    type: "TOKEN_CLS",
    name: tokenClassification.name,
    pipelineTag: "token-classification",
    modelConfig: {
      id2label: Object.fromEntries(labels.entries()),
      label2id: Object.fromEntries(labels.map((label, id) => [label, id])),
      num_labels: labels.length,
    },
    state,
    details: {
      entities: space.types,
      ...(written === undefined ? {} : { written }),
      learned: space.scheme.toUpperCase(),
      ...(classWeights ? { classWeights } : {}),
    },
    metricNames: ["f1", "precision", "recall", "accuracy", "strictF1"],
    bestMetric: "f1",
    fields: ["text"],
    settings: ["stride"],

    readExamples(table, encoder, columns) {
      const found = findTagColumns(table, knownColumns(table, state, columns));
      const tagged = readTagged(table, { tagNames, spanUnit, ...found });
      const examples = encodeSentences(labelled(tagged, space), encoder, encoding);
      return { examples, truncated: 0, warnings: tagged.warnings };
    },
    readInputs: (table, columns) => readInputs(table, knownColumns(table, state, columns)),
    inputExamples(inputs, encoder) {
      const sentences = inputs.map((input, i) => sentenceOf(input, `input ${i + 1}`));
      return { examples: encodeSentences(sentences, encoder, encoding), truncated: 0 };
    },

    collate: (examples, shape, padTokenId) => ({
      ...collateTokens(examples, shape, padTokenId),
      [LABELS]: tokenRows(examples, shape, IGNORED_LABEL, (example) => example.labels),
    }),
    build(model, shape, inputs) {
      const { outputs, lossSum } = objective.build(model.forward(modelInputs(shape, inputs)));
      return { results: outputs, lossSum };
    },
    countLabels: (feeds) => objective.countLabels(feeds),
    decode: ({ logits }, row, example) => windowLabels(logits!, row, example),
    metrics(examples, results) {
      const [truth, predicted]: [Tag[][], Tag[][]] = [[], []];
      for (const [sentence, words] of joinWindows(examples, results)) {
        truth.push((sentence.labels ?? []).map((label) => space.tags[label]!));
        predicted.push(tagsOfWords(words, space));
      }
      const details = entityMetrics(truth, predicted, space.scheme);
      const { f1, precision, recall, accuracy, strict } = details;
      const scalars = { f1, precision, recall, accuracy, strictF1: strict.f1 };
      return { scalars, details: { ...details } };
    },
    predictions: (_, examples, results) =>
      [...joinWindows(examples, results)].map(([sentence, words]) =>
        predictionOf(sentence, words, space),
      ),
    lines: ({ entities }) =>
      entities.map(({ text, type, start, end, score }) => [text, type, start, end, score]),
    tables: ({ details }) => metricTables(details as unknown as EntityMetrics),
  };
}

/** Sentences with the label ids of their words. Throws LowrankError("data") for types that are not learned. */
function labelled({ sentences, places }: TaggedSentences, space: LabelSpace): LabelledSentence[] {
  const unknown = new Map<string, string>();
  const result = sentences.map(({ entities, ...sentence }, i): LabelledSentence => {
    const known = entities.filter(({ type }) => {
      const isKnown = space.types.includes(type);
      if (!isKnown && !unknown.has(type)) unknown.set(type, places[i]!);
      return isKnown;
    });
    return { ...sentence, labels: space.labelsOf(known, sentence.starts.length) };
  });
  if (unknown.size === 0) return result;
  const problems = [...unknown].map(
    ([type, place]) => `${place}: the type ${show(type)} is not one of the training data's`,
  );
  const known = space.types.map((type) => show(type)).join(", ");
  throw new LowrankError("data", summarize(problems, `Known types: ${known}`));
}

/** The likeliest label of each word of a window, and its probability. logits: [B, T, L] */
function windowLabels(
  logits: HostTensor,
  row: number,
  { positions }: SentenceExample,
): WindowLabels {
  const [, length, count] = logits.shape as [number, number, number];
  const data = logits.data as Float32Array;
  const labels = new Int32Array(positions.length);
  const scores = new Float32Array(positions.length);
  for (const [i, position] of positions.entries()) {
    const at = (row * length + position) * count;
    let best = 0;
    for (let id = 1; id < count; id++) if (data[at + id]! > data[at + best]!) best = id;
    let sum = 0;
    for (let id = 0; id < count; id++) sum += Math.exp(data[at + id]! - data[at + best]!);
    labels[i] = best;
    scores[i] = 1 / sum;
  }
  return { labels, scores };
}

/** A word that the model does not see (it has no token) is outside. */
function tagsOfWords({ labels }: WordLabels, space: LabelSpace): Tag[] {
  return Array.from(labels, (label) => space.tags[label] ?? space.outside);
}

function predictionOf(sentence: Sentence, words: WordLabels, space: LabelSpace): EntityPrediction {
  const { text, starts, ends, tokens } = sentence;
  const entities = entitiesOf(tagsOfWords(words, space)).map(({ type, first, last }) => {
    const [start, end] = [starts[first]!, ends[last - 1]!];
    const scores = words.scores.subarray(first, last);
    const score = scores.reduce((sum, value) => sum + value, 0) / scores.length;
    return { text: text.slice(start, end), type, start, end, score };
  });
  if (!tokens) return { entities };
  return { entities, tags: Array.from(words.labels, (label) => space.names[label] ?? "O") };
}

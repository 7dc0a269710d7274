/** @file How well entities are found: precision, recall and F1 over whole entities, as conlleval and seqeval define
 * them. An entity counts as found where type, first and last word are right. */
import type { MetricTable } from "../task.ts";
import { entitiesOf, strictEntitiesOf, type Entity, type Tag, type TagScheme } from "./tags.ts";

export interface EntityScores {
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
  /** Number of true entities. */
  readonly support: number;
}

export interface EntityMetrics extends Omit<EntityScores, "support"> {
  /** Share of words with the right tag. */
  readonly accuracy: number;
  readonly perType: Readonly<Record<string, EntityScores>>;
  /** Scores of the entities that follow the scheme in every tag, as seqeval's strict mode. */
  readonly strict: EntityScores;
}

interface Counts {
  found: number;
  predicted: number;
  real: number;
}

const keyOf = ({ first, last, type }: Entity): string => `${first} ${last} ${type}`;

/** Metrics of sentences' true and predicted tags. What an entity is: for BIO by seqeval's default mode, for IOBES by its
 * strict mode. */
export function entityMetrics(
  truth: readonly (readonly Tag[])[],
  predicted: readonly (readonly Tag[])[],
  scheme: TagScheme,
): EntityMetrics {
  const strictly = (tags: readonly Tag[]): Entity[] => strictEntitiesOf(tags, scheme);
  const strict = countEntities(truth, predicted, strictly);
  const counts = scheme === "bio" ? countEntities(truth, predicted, entitiesOf) : strict;
  const { precision, recall, f1 } = scoresOf(sum(counts.values()));
  const types = [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    precision,
    recall,
    f1,
    accuracy: wordAccuracy(truth, predicted),
    perType: Object.fromEntries(types.map(([type, own]) => [type, scoresOf(own)])),
    strict: scoresOf(sum(strict.values())),
  };
}

function countEntities(
  truth: readonly (readonly Tag[])[],
  predicted: readonly (readonly Tag[])[],
  read: (tags: readonly Tag[]) => Entity[],
): Map<string, Counts> {
  const counts = new Map<string, Counts>();
  const of = (type: string): Counts => {
    let own = counts.get(type);
    if (!own) counts.set(type, (own = { found: 0, predicted: 0, real: 0 }));
    return own;
  };
  for (const [i, tags] of truth.entries()) {
    const real = read(tags);
    const keys = new Set(real.map(keyOf));
    for (const { type } of real) of(type).real++;
    for (const entity of read(predicted[i]!)) {
      of(entity.type).predicted++;
      if (keys.has(keyOf(entity))) of(entity.type).found++;
    }
  }
  return counts;
}

function sum(all: Iterable<Counts>): Counts {
  const total = { found: 0, predicted: 0, real: 0 };
  for (const { found, predicted, real } of all) {
    total.found += found;
    total.predicted += predicted;
    total.real += real;
  }
  return total;
}

function scoresOf({ found, predicted, real }: Counts): EntityScores {
  const precision = predicted === 0 ? 0 : found / predicted;
  const recall = real === 0 ? 0 : found / real;
  const f1 = found === 0 ? 0 : (2 * found) / (predicted + real);
  return { precision, recall, f1, support: real };
}

function wordAccuracy(
  truth: readonly (readonly Tag[])[],
  predicted: readonly (readonly Tag[])[],
): number {
  let [right, words] = [0, 0];
  for (const [i, tags] of truth.entries()) {
    words += tags.length;
    for (const [k, { prefix, type }] of tags.entries()) {
      const other = predicted[i]![k]!;
      if (other.prefix === prefix && other.type === type) right++;
    }
  }
  return words === 0 ? 0 : right / words;
}

const row = (name: string, { precision, recall, f1, support }: EntityScores) => [
  name,
  precision,
  recall,
  f1,
  support,
];

/** Scores of each type and of all entities. */
export function metricTables({
  perType,
  strict,
  precision,
  recall,
  f1,
}: EntityMetrics): MetricTable[] {
  const all = Object.values(perType).reduce((total, { support }) => total + support, 0);
  return [
    {
      title: "Entities",
      columns: ["type", "precision", "recall", "F1", "entities"],
      rows: [
        ...Object.entries(perType).map(([type, scores]) => row(type, scores)),
        row("all", { precision, recall, f1, support: all }),
        row("all, strict", strict),
      ],
    },
  ];
}

/** @file The labels of a model for words, as tags: from entities to label ids and back. */
import { IGNORED_LABEL } from "../../ops/functional.ts";
import { balancedClassWeights } from "../../data/labels.ts";
import type { LabelledSentence } from "./encode.ts";
import {
  OUTSIDE,
  parseTag,
  spellingOf,
  tagsOf,
  type Entity,
  type Prefix,
  type Tag,
  type TagScheme,
} from "./tags.ts";

export interface LabelSpace {
  /** Labels by their ids. */
  readonly names: readonly string[];
  /** What they mean. */
  readonly tags: readonly Tag[];
  readonly outside: Tag;
  /** Types of entities, in the order of the labels. */
  readonly types: readonly string[];
  readonly scheme: TagScheme;
  /** Label ids of a sentence's words; its entities are of `types` and do not overlap. */
  labelsOf(entities: readonly Entity[], words: number): number[];
  /** The label of a word's further tokens, given its own. */
  inner(label: number): number;
}

/** Where a set of labels has none for a prefix, the one that comes nearest. */
const NEAREST: Readonly<Record<Prefix, readonly Prefix[]>> = {
  O: ["O"],
  B: ["B", "I"],
  I: ["I", "B"],
  E: ["E", "I", "B"],
  S: ["S", "B", "I"],
};

/** The meaning of labels: those of `labelsOf` in tags.ts, or of a model from elsewhere, in any order. */
export function labelSpace(names: readonly string[]): LabelSpace {
  const { spelling, odd } = spellingOf(names);
  // A label that is no tag among tags is a type of its own.
  const tags = names.map((name) => parseTag(name, odd.includes(name) ? "plain" : spelling));
  const ids = new Map(tags.map(({ prefix, type }, id) => [`${prefix} ${type}`, id]));
  const types = [...new Set(tags.map(({ type }) => type))].filter((type) => type !== "");
  const ending = tags.some(({ prefix }) => prefix === "E" || prefix === "S");
  const scheme = ending ? "iobes" : "bio";
  const labelOf = ({ prefix, type }: Tag): number =>
    NEAREST[prefix].map((near) => ids.get(`${near} ${type}`)).find((id) => id !== undefined) ??
    IGNORED_LABEL;
  return {
    names,
    tags,
    outside: OUTSIDE,
    types,
    scheme,
    labelsOf: (entities, words) => tagsOf(entities, words, scheme).map(labelOf),
    inner(label) {
      const { prefix, type } = tags[label]!;
      return prefix === "B" ? labelOf({ prefix: "I", type }) : label;
    },
  };
}

/** Weights that give each label that occurs the same total over the words; 1 for others. */
export function wordClassWeights(
  sentences: readonly LabelledSentence[],
  numLabels: number,
): number[] {
  const ids = sentences.flatMap(({ labels = [] }) => labels);
  const present = [...new Set(ids)].sort((a, b) => a - b);
  const weights = balancedClassWeights(
    ids.map((id) => present.indexOf(id)),
    present.length,
  );
  return Array.from({ length: numLabels }, (_, id) => weights[present.indexOf(id)] ?? 1);
}

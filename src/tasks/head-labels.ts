/** @file The labels of a head that is there already: their names in a configuration, and the places that they keep when training
 * goes on with the head. */
import { z } from "zod";
import { LowrankError } from "../errors.ts";
import { listFirst } from "../format.ts";

/** The labels of a head that training may go on with. */
export interface HeadLabels {
  /** In the order of its outputs. */
  readonly labels: readonly string[];
  /** Whether it goes on in any case: labels that the data lacks then stay, and others are an error. */
  readonly stays: boolean;
}

const MOST_NAMED = 5;

/**
 * The labels of training data as the outputs of a head: where that has the same labels, in its order, so that each output keeps
 * its meaning. Throws LowrankError("data") for labels that a head that stays does not have.
 */
export function placeLabels(labels: readonly string[], head: HeadLabels | undefined): string[] {
  if (!head) return [...labels];
  const others = labels.filter((label) => !head.labels.includes(label));
  if (others.length > 0 && head.stays) {
    throw new LowrankError(
      "data",
      `adapter: expected the labels that it was trained for (${listFirst(head.labels, MOST_NAMED)}), ` +
        `got also ${listFirst(others, MOST_NAMED)}. Leave these out, or train a new adapter.`,
    );
  }
  const isSame = others.length === 0 && labels.length === head.labels.length;
  return [...(isSame || head.stays ? head.labels : labels)];
}

/** What to say where a head goes on with other labels in the places of its own; undefined where it does not. */
export function otherLabelsWarning(
  { labels }: HeadLabels,
  trained: readonly string[],
): string | undefined {
  const isOther =
    trained.length === labels.length && trained.some((label, i) => label !== labels[i]);
  if (!isOther) return undefined;
  const [before, after] = [labels, trained].map((names) => listFirst(names, MOST_NAMED));
  return `The base model's head was trained for ${before}, and goes on with ${after} in their places.`;
}

/** The labels that a configuration names, by the ids 0, 1, …; undefined where it does not. */
export function namedLabels({
  id2label,
}: Readonly<Record<string, unknown>>): readonly string[] | undefined {
  const { data } = namesSchema.safeParse(id2label);
  const labels = Object.keys(data ?? {}).map((_, id) => data![id]);
  return labels.length > 0 && labels.every((label) => label !== undefined) ? labels : undefined;
}

const namesSchema = z.record(z.string(), z.string());

/** The names of a head's outputs: `id2label` where it is for a head of this size, else LABEL_0, LABEL_1, … as in transformers.
 * What `id2label` may say besides is refused when the model is built. */
export function labelsOfHead(config: Readonly<Record<string, unknown>>, outputs: number): string[] {
  const names = namedLabels(config);
  return names?.length === outputs
    ? [...names]
    : Array.from({ length: outputs }, (_, id) => unnamed(id));
}

const unnamed = (id: number): string => `LABEL_${id}`;

/**
 * @file Shuffling, and splitting examples into a training and a held-out part, with the classes in proportion or by whole
 * groups. All are pure functions of their arguments and the seed (random.ts).
 */

import { LowrankError } from "../errors.ts";
import { randomGenerator, type RandomGenerator } from "../random.ts";

/** Which examples train and which are held out: indices, ascending. */
export interface Split {
  train: number[];
  heldOut: number[];
}

/**
 * A shuffled copy (Fisher–Yates).
 *
 * @param seed a seed, or a generator to draw from
 */
export function shuffle<T>(items: readonly T[], seed: number | RandomGenerator): T[] {
  const random = typeof seed === "number" ? randomGenerator(seed, "shuffle") : seed;
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = random.int(i + 1);
    [result[i], result[j]] = [result[j] as T, result[i] as T];
  }
  return result;
}

/**
 * Holds out `round(n · fraction)` examples (at least one), each class in proportion, by largest remainders.
 *
 * A class keeps at least one example in training, so a class of one example is never held out; where that leaves
 * too few candidates, fewer examples are held out (none, when every class has one example).
 *
 * @param labels the class of each example
 * @param fraction the held-out share, between 0 and 1 exclusive
 * @throws LowrankError "usage" for a fraction out of range
 */
export function stratifiedSplit(labels: readonly number[], fraction: number, seed: number): Split {
  requireFraction(fraction);
  const random = randomGenerator(seed, "stratified-split");
  const members = membersOf(labels);
  const classes = [...members.keys()].sort((a, b) => a - b);
  const quotas = classes.map((label) => {
    const indices = shuffle(members.get(label) ?? [], random);
    const share = indices.length * fraction;
    const held = Math.min(Math.floor(share), indices.length - 1);
    return { indices, held, remainder: share - held, tie: random.uniform() };
  });

  let missing = Math.max(1, Math.round(labels.length * fraction));
  for (const quota of quotas) missing -= quota.held;
  const byRemainder = quotas.toSorted((a, b) => b.remainder - a.remainder || a.tie - b.tie);
  for (const quota of byRemainder) {
    if (missing > 0 && quota.held < quota.indices.length - 1) {
      quota.held++;
      missing--;
    }
  }

  const train: number[] = [];
  const heldOut: number[] = [];
  for (const { indices, held } of quotas) {
    for (const [i, index] of indices.entries()) (i < held ? heldOut : train).push(index);
  }
  return { train: train.sort((a, b) => a - b), heldOut: heldOut.sort((a, b) => a - b) };
}

/**
 * Holds out whole groups, about `round(n · fraction)` examples together (never more, but at least one group). Training
 * keeps at least one group: of a single group, nothing is held out.
 *
 * @param groups the group of each example
 * @param fraction the held-out share, between 0 and 1 exclusive
 * @throws LowrankError "usage" for a fraction out of range
 */
export function groupedSplit(groups: readonly number[], fraction: number, seed: number): Split {
  requireFraction(fraction);
  const members = membersOf(groups);
  const order = shuffle([...members.keys()], randomGenerator(seed, "grouped-split"));
  const size = (group: number): number => members.get(group)!.length;
  const wanted = Math.max(1, Math.round(groups.length * fraction));
  const held = new Set<number>();
  let count = 0;
  for (const group of order) {
    if (count + size(group) > wanted || held.size === order.length - 1) continue;
    held.add(group);
    count += size(group);
  }
  // All are larger than the part to hold out: the smallest comes nearest.
  const smallest = order.toSorted((a, b) => size(a) - size(b))[0];
  if (held.size === 0 && order.length > 1) held.add(smallest!);
  const indices = Array.from(groups.keys());
  return {
    train: indices.filter((index) => !held.has(groups[index]!)),
    heldOut: indices.filter((index) => held.has(groups[index]!)),
  };
}

/**
 * Holds out the last `round(n · fraction)` examples: what follows one another as the lines of a text stays together.
 * Training keeps at least one.
 *
 * @throws LowrankError "usage" for a fraction out of range
 */
export function lastPartSplit(count: number, fraction: number): Split {
  requireFraction(fraction);
  const held = Math.min(count - 1, Math.max(1, Math.round(count * fraction)));
  const indices = Array.from({ length: count }, (_, index) => index);
  return { train: indices.slice(0, count - held), heldOut: indices.slice(count - held) };
}

/** The indices of each class or group, in the order of their first ones. */
function membersOf(labels: readonly number[]): Map<number, number[]> {
  const members = new Map<number, number[]>();
  for (const [index, label] of labels.entries()) {
    const list = members.get(label);
    if (list === undefined) members.set(label, [index]);
    else list.push(index);
  }
  return members;
}

function requireFraction(fraction: number): void {
  if (fraction > 0 && fraction < 1) return;
  throw new LowrankError(
    "usage",
    `held-out fraction: expected a number between 0 and 1, got ${fraction}. Pass for example 0.1.`,
  );
}

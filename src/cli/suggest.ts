/** @file The names nearest to a mistyped one. */

const MAX_SUGGESTIONS = 3;
/** Letters from which on a name that is contained in another is no coincidence. */
const MIN_PART_LENGTH = 4;

/** Known names that differ from `name` by few letters or are a part of it, the nearest first; at most
 * three. */
export function nearest(name: string, known: readonly string[]): string[] {
  const limit = Math.max(2, Math.floor(name.length / 3));
  return known
    .map((candidate) => ({ candidate, distance: distance(name, candidate) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance)
    .slice(0, MAX_SUGGESTIONS)
    .map(({ candidate }) => candidate);
}

function distance(name: string, candidate: string): number {
  const isPart = candidate.length >= MIN_PART_LENGTH && name.includes(candidate);
  return isPart ? 1 : editDistance(name, candidate);
}

/** Letters to insert, delete, replace or swap with a neighbour (optimal string alignment). */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = rows[i - 1]![j - 1]! + Number(a[i - 1] !== b[j - 1]);
      row[j] = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, replace);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) row[j] = Math.min(row[j]!, rows[i - 2]![j - 2]! + 1);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}

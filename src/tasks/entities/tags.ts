/** @file Tags of words, and the entities that they mark. BIO (IOB2): B- begins an entity, I- goes on, O is
 * outside; IOB1: B- only where two entities of a type touch; IOBES (BILOU, BMES): E- ends, S- is alone; plain
 * types: neighbours of a type are an entity. One reading serves all (`entitiesOf`).
 * Sources: Ramshaw and Marcus 1995, https://aclanthology.org/W95-0107; seqeval,
 * https://github.com/chakki-works/seqeval */

export type Prefix = "O" | "B" | "I" | "E" | "S";

export interface Tag {
  readonly prefix: Prefix;
  /** Empty outside. */
  readonly type: string;
}

/** Words first … last - 1. */
export interface Entity {
  readonly type: string;
  readonly first: number;
  readonly last: number;
}

/** Schemes in which a model can be trained. */
export const TAG_SCHEMES = ["bio", "iobes"] as const;
export type TagScheme = (typeof TAG_SCHEMES)[number];

export const OUTSIDE: Tag = { prefix: "O", type: "" };

/** The type of entities whose tags have none: B, I, O. */
const NO_TYPE = "entity";

const PREFIXED = /^([BIESLUM])(?:[-_](.+))?$/s;
const MEANINGS: Readonly<Record<string, Prefix>> = { L: "E", U: "S", M: "I" };

/** How a set of tags is written, for `parseTag`. */
export type Spelling = "prefixed" | "plain";

/** Whether tags have prefixes; those that do not fit where some have. */
export function spellingOf(tags: Iterable<string>): { spelling: Spelling; odd: string[] } {
  const entities = [...new Set(tags)].filter((tag) => tag !== "O");
  const odd = entities.filter((tag) => !PREFIXED.test(tag));
  return odd.length === entities.length
    ? { spelling: "plain", odd: odd.filter((tag) => tag.trim() === "") }
    : { spelling: "prefixed", odd };
}

/** What a tag means; of a plain one, that it is inside an entity. */
export function parseTag(text: string, spelling: Spelling): Tag {
  if (text === "O") return OUTSIDE;
  if (spelling === "plain") return { prefix: "I", type: text };
  const [, letter = "I", type = NO_TYPE] = PREFIXED.exec(text) ?? [];
  return { prefix: MEANINGS[letter] ?? (letter as Prefix), type };
}

/** Whether an entity that reaches to the word before goes on. */
function goesOn(before: Tag, { prefix, type }: Tag): boolean {
  return (
    (prefix === "I" || prefix === "E") &&
    before.type === type &&
    before.prefix !== "E" &&
    before.prefix !== "S"
  );
}

/** The entities of a sentence, as conlleval and seqeval's default mode read them: what does not go on begins one. */
export function entitiesOf(tags: readonly Tag[]): Entity[] {
  const entities: { type: string; first: number; last: number }[] = [];
  for (const [i, tag] of tags.entries()) {
    const entity = entities.at(-1);
    if (entity?.last === i && goesOn(tags[i - 1]!, tag)) entity.last = i + 1;
    else if (tag.prefix !== "O") entities.push({ type: tag.type, first: i, last: i + 1 });
  }
  return entities;
}

/** Those that follow the scheme, as seqeval's strict mode reads them: BIO's begin with B-, those of IOBES are S-
 * alone or reach from B- to E-. */
export function strictEntitiesOf(tags: readonly Tag[], scheme: TagScheme): Entity[] {
  return entitiesOf(tags).filter(({ first, last }) => {
    const { prefix } = tags[first]!;
    if (scheme === "bio") return prefix === "B";
    return last - first === 1 ? prefix === "S" : prefix === "B" && tags[last - 1]!.prefix === "E";
  });
}

/** The tags of a sentence whose entities do not overlap. */
export function tagsOf(entities: readonly Entity[], words: number, scheme: TagScheme): Tag[] {
  const tags = Array.from({ length: words }, () => OUTSIDE);
  for (const { type, first, last } of entities) {
    for (let i = first; i < last; i++) {
      const isEnd = scheme === "iobes" && i === last - 1;
      const prefix = i === first ? (isEnd ? "S" : "B") : isEnd ? "E" : "I";
      tags[i] = { prefix, type };
    }
  }
  return tags;
}

/** A model's labels: O, then those of each type. */
export function labelsOf(types: readonly string[], scheme: TagScheme): string[] {
  const prefixes = scheme === "bio" ? "BI" : "BIES";
  return ["O", ...types.flatMap((type) => Array.from(prefixes, (prefix) => `${prefix}-${type}`))];
}

/** Names of what data is written in. */
export type WrittenScheme = "BIO" | "IOB1" | "IOBES" | "types without prefixes";

/**
 * How sentences are tagged, and which tags are against it: an I- (E-) that goes on with nothing.
 *
 * Tags of B- and I- alone are IOB1 where B- only separates and I- begins; else BIO.
 */
export function detectScheme(
  sentences: readonly (readonly Tag[])[],
  spelling: Spelling,
): { scheme: WrittenScheme; strays: { sentence: number; word: number }[] } {
  if (spelling === "plain") return { scheme: "types without prefixes", strays: [] };
  const strays: { sentence: number; word: number }[] = [];
  let [beginning, ending] = [0, 0];
  for (const [sentence, tags] of sentences.entries()) {
    for (const [word, tag] of tags.entries()) {
      const before = tags[word - 1] ?? OUTSIDE;
      if (tag.prefix === "E" || tag.prefix === "S") ending++;
      if (tag.prefix === "B" && before.type !== tag.type) beginning++;
      if ((tag.prefix === "I" || tag.prefix === "E") && !goesOn(before, tag)) {
        strays.push({ sentence, word });
      }
    }
  }
  if (ending > 0) return { scheme: "IOBES", strays };
  return beginning === 0 && strays.length > 0
    ? { scheme: "IOB1", strays: [] }
    : { scheme: "BIO", strays };
}

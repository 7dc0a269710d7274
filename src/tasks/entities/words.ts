/** @file The words of a text that is not split into words. Data sets for named-entity recognition are split, most by
 * similar rules: punctuation is set apart from words, but stays inside them (don't, 3.14, node.js, AT&T), @names,
 * #tags and addresses are whole, English 's, 'm, n't … are words of their own. Where scripts have no spaces, each
 * character is a word. */

/** Scripts written without spaces: a character, with its marks, is a word. */
const UNSPACED = String.raw`[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}ー\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]`;
const LETTER = String.raw`(?!${UNSPACED})[\p{L}\p{M}\p{N}_]`;
const CLITIC = String.raw`(?:n['’]t|['’](?:s|m|re|ve|ll|d))(?!${LETTER})`;
/** Inside words between letters; commas and colons between digits only. */
const INNER = String.raw`(?:[-.'’&/·‑](?=${LETTER})|(?<=\p{N})[,:](?=\p{N}))`;
const EMOJI = String.raw`\p{Extended_Pictographic}[\ufe0f\p{Emoji_Modifier}]*`;

const WORD = new RegExp(
  [
    String.raw`(?:https?:\/\/|www\.)[^\s<>"“”]*[^\s\p{P}<>"“”]\/?`,
    String.raw`[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+`, // longer ones are none, and would take long to refuse
    String.raw`(?:\p{L}\.){2,}`, // U.S.
    String.raw`${UNSPACED}\p{M}*`,
    CLITIC,
    // @name, #tag or a word, up to a clitic
    String.raw`[@#]?(?!${CLITIC})${LETTER}(?:(?!${CLITIC})(?:${LETTER}|${INNER}))*`,
    String.raw`\p{RI}{2}`, // flags
    String.raw`${EMOJI}(?:\u200d${EMOJI})*`,
    String.raw`([\p{P}\p{S}])\1*`, // "..." is one
    String.raw`\S`,
  ].join("|"),
  "giu",
);

/** Where words begin and end in a text, in UTF-16 units. */
export interface Words {
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

/** Splits a text into words. @param cuts places inside the text that begin a word, ascending */
export function splitWords(text: string, cuts: readonly number[] = []): Words {
  const starts: number[] = [];
  const ends: number[] = [];
  let from = 0;
  for (const to of [...cuts, text.length]) {
    for (const { 0: word, index } of text.slice(from, to).matchAll(WORD)) {
      starts.push(from + index);
      ends.push(from + index + word.length);
    }
    from = to;
  }
  return { starts, ends };
}

/** The words of a list, as they stand in the text that they make with spaces between. */
export function joinWords(words: readonly string[]): { text: string } & Words {
  const starts: number[] = [];
  const ends: number[] = [];
  let at = 0;
  for (const word of words) {
    starts.push(at);
    at += word.length;
    ends.push(at);
    at++;
  }
  return { text: words.join(" "), starts, ends };
}

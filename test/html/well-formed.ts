/** @file A strict look at generated HTML and SVG, for tests: stricter than browsers, which repair what is broken. */

const VOID = new Set(["meta", "br", "hr", "img", "input", "link"]);
const TAG = /<(\/?)([a-z][\w-]*)((?:\s+[a-zA-Z][\w:-]*(?:="[^"<]*")?)*)\s*(\/?)>/y;
const ENTITY = /&(?!(?:amp|lt|gt|quot|#39);)/;

/** What is wrong with a text: tags that are not closed in order, quotes, stray < and &, an id that occurs twice. */
export function problemsOf(text: string): string[] {
  const problems: string[] = [];
  const open: string[] = [];
  const ids = new Set<string>();
  let place = text.startsWith("<!doctype html>") ? "<!doctype html>".length : 0;
  while (place < text.length) {
    const next = text.indexOf("<", place);
    const plain = text.slice(place, next === -1 ? text.length : next);
    if (ENTITY.test(plain)) problems.push(`an & in ${plain.trim().slice(0, 40)}`);
    if (next === -1) break;
    TAG.lastIndex = next;
    const match = TAG.exec(text);
    if (!match) return [...problems, `no tag: ${text.slice(next, next + 60)}`];
    const [tag, slash, name, attributes] = match as unknown as [string, string, string, string];
    place = next + tag.length;
    const id = /\sid="([^"]*)"/.exec(attributes)?.[1];
    if (id !== undefined && ids.has(id)) problems.push(`id ${id} twice`);
    if (id !== undefined) ids.add(id);
    if (slash) {
      if (open.pop() !== name) problems.push(`</${name}> closes another element`);
    } else if (!VOID.has(name) && match[4] !== "/") {
      open.push(name);
    }
    if (!slash && (name === "script" || name === "style"))
      place = text.indexOf(`</${name}>`, place);
  }
  return [...problems, ...open.map((name) => `<${name}> is not closed`)];
}

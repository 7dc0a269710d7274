/** @file Questions with their contexts and answers in the rows of a table. What cannot be learned from is reported
 * and left out, as tools for SQuAD do; evaluations compare texts and use every question. */
import { answersOf, placeAnswer, type Answer } from "../../data/answers.ts";
import { findColumn, findOptionalColumn, textValues } from "../../data/columns.ts";
import { columnOf, placeOf, show, summarize, type Column, type Table } from "../../data/table.ts";
import { LowrankError } from "../../errors.ts";
import type { Columns } from "../options.ts";
import type { Input } from "../task.ts";
import type { Question } from "./encode.ts";

/** Columns that a question's parts are in. */
export interface QuestionColumns {
  readonly questionColumn?: string | undefined;
  readonly contextColumn?: string | undefined;
  readonly answersColumn?: string | undefined;
  readonly answerStartColumn?: string | undefined;
}

/** A column's name in all of them. */
const ID = "id";
/** SQuAD's mark of a question without answer, as a column of its own. */
const IS_IMPOSSIBLE = "is_impossible";

/** The columns of labelled questions. Throws LowrankError("data"). */
export function findQuestionColumns(table: Table, asked: Columns): QuestionColumns {
  return {
    ...findInputColumns(table, asked),
    answersColumn: findColumn(table, "answers", asked.answersColumn),
    answerStartColumn: findOptionalColumn(table, "answerStart", asked.answerStartColumn),
  };
}

function findInputColumns(table: Table, asked: Columns) {
  return {
    questionColumn: findColumn(table, "question", asked.questionColumn),
    contextColumn: findColumn(table, "context", asked.contextColumn),
  };
}

/** The inputs of a table: { question, context }, and id where there is one. Throws LowrankError("data"). */
export function readInputs(table: Table, asked: Columns): Input[] {
  const { questionColumn, contextColumn } = findInputColumns(table, asked);
  const questions = filledTexts(table, questionColumn);
  const contexts = filledTexts(table, contextColumn);
  return table.rows.map(({ values }, i) => ({
    ...(ID in values ? { id: values[ID] } : {}),
    question: questions[i],
    context: contexts[i],
  }));
}

/** The texts of a column; none may be empty. */
function filledTexts(table: Table, name: string): string[] {
  const texts = textValues(table, name);
  const column = columnOf(table, name);
  const empty = texts.flatMap((text, index) =>
    text.trim() === "" ? [`${placeOf(column, index)}: column ${show(name)} is empty`] : [],
  );
  if (empty.length === 0) return texts;
  throw new LowrankError("data", summarize(empty, "Give each row a text or remove it"));
}

/** A number for each context: equal ones for questions about the same. */
export function contextGroups(table: Table, asked: Columns): number[] {
  const groups = new Map<unknown, number>();
  return columnOf(table, findInputColumns(table, asked).contextColumn).values.map((context) => {
    if (!groups.has(context)) groups.set(context, groups.size);
    return groups.get(context)!;
  });
}

/** Labelled questions, and what to tell the user of them. */
export interface LabelledQuestions {
  readonly questions: Question[];
  readonly warnings: string[];
}

/** The labelled questions of a table. Throws LowrankError("data") for texts or answers that are missing or of
 * another form. */
export function readQuestions(table: Table, asked: Columns): LabelledQuestions {
  const inputs = readInputs(table, asked);
  const { answersColumn, answerStartColumn } = findQuestionColumns(table, asked);
  const answers = readAnswers(table, answersColumn!, answerStartColumn);
  const place = placesOf(table, answersColumn!);
  const [lost, ambiguous]: [string[], string[]] = [[], []];
  const questions = inputs.map(({ question, context }, index): Question => {
    const own = answers[index]!;
    const places = own.map((answer) => placeAnswer(context as string, answer));
    const found = places.findIndex((candidate) => "span" in candidate);
    const [target, first] = [places[found], own[Math.max(found, 0)]];
    if (target && "span" in target) {
      if (!target.isUnique) ambiguous.push(`${place(index)}: ${show(first!.text)}`);
    } else if (first) {
      const [reason] = places as { problem: string }[];
      lost.push(`${place(index)}: ${show(first.text)} ${reason!.problem}`);
    }
    return {
      question: question as string,
      context: context as string,
      answers: own.map(({ text }) => text),
      target: target && "span" in target ? target.span : first ? undefined : "none",
    };
  });
  return { questions, warnings: warningsOf(table, lost, ambiguous) };
}

/** The answers of each row. */
function readAnswers(table: Table, name: string, startName: string | undefined): Answer[][] {
  const column = columnOf(table, name);
  const problems: string[] = [];
  const problem = (index: number, what: string): void => {
    problems.push(`${placeOf(column, index)}: column ${show(name)}: ${what}`);
  };
  const answers = table.rows.map(({ values }, index) => {
    if (values[IS_IMPOSSIBLE] === true) return [];
    if (values[name] === undefined) {
      problem(index, "expected answers, got nothing");
      return [];
    }
    const found = answersOf(values[name], startName === undefined ? undefined : values[startName]);
    if (typeof found !== "string") return found;
    problem(index, found);
    return [];
  });
  if (problems.length === 0) return answers;
  const remedy = "Give each row its answers, an empty list or text where there is none";
  throw new LowrankError("data", summarize(problems, remedy));
}

/** Names rows: `file: row 3 (id "a")`. */
function placesOf(table: Table, name: string): (index: number) => string {
  const column: Column = columnOf(table, name);
  return (index) => {
    const id = table.rows[index]!.values[ID];
    return `${placeOf(column, index)}${id === undefined ? "" : ` (id ${show(id)})`}`;
  };
}

function warningsOf(table: Table, lost: readonly string[], ambiguous: readonly string[]): string[] {
  const ids = table.rows.flatMap(({ values }) => (values[ID] === undefined ? [] : [values[ID]]));
  const seen = new Set<unknown>();
  const repeated = ids.filter((id) => seen.has(id) || !seen.add(id));
  const warning = (items: readonly string[], what: string, remedy: string): string[] =>
    items.length === 0
      ? []
      : [`${table.file}: ${what}: ${items.length}\n${summarize(items, remedy)}`];
  return [
    ...warning(
      lost,
      "questions that teach nothing, since no answer is found at its place",
      "Correct the answers, or where they start: answer_start counts characters from 0",
    ),
    ...warning(
      ambiguous,
      "answers without a place that occur several times in their context, of which the first is taken",
      "Give each its answer_start",
    ),
    ...warning(
      [...new Set(repeated)].map((id) => show(id)),
      "ids that occur more than once",
      "Every row counts as a question of its own",
    ),
  ];
}

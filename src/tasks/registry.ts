/** @file All tasks, by the names that users and files know them by. */
import { LowrankError } from "../errors.ts";
import { causalLm } from "./causal-lm.ts";
import type { TaskOptions } from "./options.ts";
import { questionAnswering } from "./question-answering.ts";
import { sequenceClassification } from "./sequence-classification.ts";
import { tokenClassification } from "./token-classification.ts";
import type { TaskKind } from "./task.ts";

const KINDS = [sequenceClassification, tokenClassification, questionAnswering, causalLm] as const;

export const TASKS: readonly TaskKind[] = KINDS;

/** A task as users name it. */
export type TaskName = (typeof KINDS)[number]["name"];

/** The task of a name, an alias or PEFT's task type. Throws LowrankError("usage") that lists the names. */
export function findTask(name: string, where = "task"): TaskKind {
  const found = TASKS.find((kind) => [kind.name, kind.type, ...kind.aliases].includes(name));
  if (found) return found;
  const known = TASKS.map((kind) => kind.name).join(", ");
  throw new LowrankError(
    "usage",
    `${where}: there is no task ${JSON.stringify(name)}. Tasks: ${known}.`,
  );
}

/** What is wrong with columns and settings that a task does not read, by their names. */
export function ofOtherTasks(task: string, names: readonly (keyof TaskOptions)[]): string[] {
  const { name: own, options: known } = findTask(task);
  return names
    .filter((name) => !known.includes(name))
    .map((name) => {
      const owners = TASKS.filter(({ options }) => options.includes(name));
      const others = owners.map((owner) => owner.name).join(" or ");
      return `${name}: goes with task ${others}, not with ${own}; leave it out`;
    });
}

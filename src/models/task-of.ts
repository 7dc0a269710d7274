/** @file What a model directory is for, by the class that its config.json names. */
import { join } from "node:path";
import { readModelConfig } from "../io/model-config.ts";
import { familyOf } from "./auto.ts";
import type { TaskType } from "./family.ts";

/** The task of a model directory: by its first architecture, e.g. "BertForSequenceClassification"; where that says
 * nothing, language modelling if the family can, else classification. Throws LowrankError "io" or "config". */
export async function taskOfModel(directory: string): Promise<TaskType> {
  const config = await readModelConfig(directory);
  const { models } = familyOf(config, join(directory, "config.json"));
  const architecture = String([config["architectures"]].flat()[0] ?? "");
  if (architecture.endsWith("ForSequenceClassification")) return "SEQ_CLS";
  if (architecture.endsWith("ForTokenClassification")) return "TOKEN_CLS";
  if (architecture.endsWith("ForQuestionAnswering")) return "QUESTION_ANS";
  return "CAUSAL_LM" in models ? "CAUSAL_LM" : "SEQ_CLS";
}

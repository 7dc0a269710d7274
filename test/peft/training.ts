/** @file Trains a case's adapter here by its recipe (training.json), and writes what came out and how each step went
 * (trained/): run.py then makes the same steps with PyTorch, transformers and PEFT. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { applyLora } from "../../src/lora/apply.ts";
import { loraPlusRules } from "../../src/lora/lora-plus.ts";
import { loadAdapterWeights, readAdapterConfig, saveAdapter } from "../../src/lora/peft-format.ts";
import { AutoModel, type PretrainedModel } from "../../src/models/auto.ts";
import type { TaskType } from "../../src/models/family.ts";
import { countParameters } from "../../src/nn/module.ts";
import type { ScheduleName } from "../../src/optim/schedule.ts";
import type { Engine } from "../../src/runtime/engine.ts";
import type { ProblemType } from "../../src/tasks/objectives.ts";
import { TASKS } from "../../src/tasks/registry.ts";
import type { Example, Task } from "../../src/tasks/task.ts";
import { Evaluator } from "../../src/train/evaluate.ts";
import { runLoop } from "../../src/train/loop.ts";
import { trainOptions } from "../../src/train/options.ts";
import { Stepper } from "../../src/train/step/stepper.ts";

/** Longest text that the models take. */
const MAX_LENGTH = 40;
/** Numbers that a step in two programs updates at a time: several times for these models. */
const PIECE_ELEMENTS = 500;

interface Recipe {
  readonly batch_size: number;
  readonly gradient_accumulation: number;
  readonly steps: number;
  readonly schedule: ScheduleName;
  /** Steps, or below 1 a share of all steps. */
  readonly warmup: number;
  readonly learning_rate: number;
  readonly weight_decay: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly max_grad_norm: number;
  readonly lora_plus: { readonly ratio: number; readonly embedding: number } | null;
  readonly class_weights: readonly number[] | null;
  readonly split: boolean;
}

interface Training {
  /** How many the head has. */
  readonly labels: number;
  readonly recipe: Recipe;
  readonly examples: readonly Record<string, unknown>[];
}

interface MicroBatch {
  /** Numbers of its examples. */
  readonly examples: readonly number[];
  readonly length: number;
}

/** Train the adapter of a case. Throws LowrankError for what is not implemented. */
export async function trainCase(
  engine: Engine,
  folder: string,
  { task: type, problem_type: problemType }: { task: TaskType; problem_type: ProblemType | null },
): Promise<void> {
  const training = JSON.parse(readFileSync(join(folder, "training.json"), "utf8")) as Training;
  const { recipe } = training;
  const model = join(folder, "model");
  const options = optionsOf(recipe, model);
  // Some heads have a dropout that their configuration does not speak of.
  const base = await AutoModel.fromPretrained(model, { task: type, dropout: 0 });
  const { lora } = await readAdapterConfig(join(folder, "adapter"));
  applyLora(base.model, lora, base.family);
  await loadAdapterWeights(join(folder, "adapter"), base.model, lora);

  const examples = training.examples.map(exampleOf);
  const run = recorded(taskOf(type, problemType, training), examples);
  const stepper = await Stepper.create(engine, base.model, stepperOptions(recipe, base));
  const padTokenId = base.config["pad_token_id"] as number;
  const common = { engine, model: base.model, task: run.task, maxLength: MAX_LENGTH, padTokenId };
  const steps = { losses: [], grad_norms: [], learning_rates: [] } as Record<string, number[]>;
  const microBatches: MicroBatch[][] = [];
  await runLoop({
    ...common,
    stepper,
    evaluator: new Evaluator({ ...common, batchSize: recipe.batch_size }),
    options,
    train: examples,
    validation: [],
    emit(event) {
      if (event.type !== "step") return;
      steps["losses"]!.push(event.loss);
      steps["grad_norms"]!.push(event.gradNorm);
      steps["learning_rates"]!.push(event.learningRate);
      microBatches.push(run.batches.splice(0));
    },
  });

  const trained = join(folder, "trained");
  mkdirSync(trained, { recursive: true });
  const values = (path: string): Promise<Float32Array> => stepper.values(path);
  await saveAdapter(trained, base.model, { lora, baseModel: model, values });
  await stepper.release();
  const trainable = countParameters(base.model, { trainable: true });
  const result = { ...steps, micro_batches: microBatches, trainable };
  writeFileSync(join(trained, "steps.json"), JSON.stringify(result));
}

function optionsOf(recipe: Recipe, model: string) {
  const { warmup } = recipe;
  return trainOptions({
    model,
    data: "training.json",
    batchSize: recipe.batch_size,
    gradientAccumulation: recipe.gradient_accumulation,
    steps: recipe.steps,
    schedule: recipe.schedule,
    ...(warmup > 0 && warmup < 1 ? { warmupRatio: warmup } : { warmupSteps: warmup }),
    learningRate: recipe.learning_rate,
    weightDecay: recipe.weight_decay,
    maxGradNorm: recipe.max_grad_norm,
  });
}

function stepperOptions(recipe: Recipe, { model }: PretrainedModel) {
  const { betas, eps, weight_decay, max_grad_norm, lora_plus, learning_rate, split } = recipe;
  const rules = lora_plus && {
    ratio: lora_plus.ratio,
    embeddingRatio: lora_plus.embedding / learning_rate,
  };
  return {
    betas,
    eps,
    weightDecay: weight_decay,
    ...(max_grad_norm === 0 ? {} : { maxGradNorm: max_grad_norm }),
    ...(rules ? { rules: loraPlusRules(model, rules) } : {}),
    split,
    pieceElements: PIECE_ELEMENTS,
    seed: 0,
  };
}

function taskOf(
  type: TaskType,
  problemType: ProblemType | null,
  { labels, recipe, examples }: Training,
): Task {
  const classWeights = recipe.class_weights ?? undefined;
  const names = Array.from({ length: labels }, (_, label) => `LABEL_${label}`);
  const isPair = examples.some((example) => "token_type_ids" in example);
  const pair = isPair ? { textPairColumn: "pair" } : {};
  const states: Record<TaskType, object> = {
    SEQ_CLS: { problemType, labels: names, classWeights, ...pair },
    TOKEN_CLS: { labels: names, classWeights, spanUnit: "utf16", labelAllTokens: true },
    QUESTION_ANS: { dropTokenTypes: true },
    CAUSAL_LM: { format: "completion" },
  };
  return TASKS.find((kind) => kind.type === type)!.restore(states[type], "training.json");
}

const tokens = (values: unknown): Int32Array => Int32Array.from(values as number[]);

/** An example as tasks have it: what is one for each token as typed arrays. */
function exampleOf(example: Record<string, unknown>): Example {
  const { input_ids: ids, token_type_ids: types, labels, ...rest } = example;
  return {
    inputIds: tokens(ids),
    ...(types ? { tokenTypeIds: tokens(types) } : {}),
    ...(labels ? { labels: tokens(labels) } : {}),
    ...rest,
  };
}

/** A task that takes down the batches that are made with it. */
function recorded(task: Task, examples: readonly Example[]): { task: Task; batches: MicroBatch[] } {
  const batches: MicroBatch[] = [];
  const collate: Task["collate"] = (members, shape, padTokenId) => {
    const numbers = members.map((member) => examples.indexOf(member));
    batches.push({ examples: numbers, length: shape.length });
    return task.collate(members, shape, padTokenId);
  };
  return { task: { ...task, collate }, batches };
}

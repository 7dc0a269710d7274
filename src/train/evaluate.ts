/** @file Running a model forward on many examples: metrics and predictions. The parameters live in the
 * engine under their paths, so that an evaluation sees what training has made of them. */
import { planBatches } from "../data/batches.ts";
import type { Model } from "../models/family.ts";
import type { InputShape } from "../models/inputs.ts";
import { bindParameters } from "../nn/bind.ts";
import type { Parameter } from "../nn/parameter.ts";
import { deadRows } from "../passes/dead-rows.ts";
import { compile } from "../runtime/compile.ts";
import type { Engine, Program } from "../runtime/engine.ts";
import type { Example, Feeds, Input, Metrics, Outputs, Task } from "../tasks/task.ts";
import { PromiseCache } from "./promise-cache.ts";

/** Compiled shapes that are kept: each holds working memory of its size. */
const MAX_PROGRAMS = 32;

/** Texts computed together without gradients, unless asked otherwise. More make no product faster, once there
 * are some hundred rows, but tensors that leave the caches (LOG.md has the numbers). */
export const EVALUATION_BATCH = 16;

/** Name of the loss among a program's outputs. */
const LOSS = "loss_sum";

export interface EvaluatorOptions {
  readonly engine: Engine;
  readonly model: Model;
  readonly task: Task;
  readonly batchSize: number;
  readonly maxLength: number;
  readonly padTokenId: number;
  /** Names of the parameters in the engine; default: their paths. */
  readonly names?: ReadonlyMap<Parameter, string> | undefined;
}

/** Called after each batch. */
export type Progress = (done: number, total: number) => void;

interface BatchResult {
  /** Positions of the batch's examples among all. */
  readonly indices: readonly number[];
  readonly outputs: Outputs;
  readonly lossSum: number;
  readonly feeds: Feeds;
}

/** A model over the batches of a data set: what a task keeps of each example, and the loss. A program is compiled for
 * each shape. */
export class Evaluator {
  readonly #options: EvaluatorOptions;
  /** By shape. */
  readonly #programs: PromiseCache<Program>;

  constructor(options: EvaluatorOptions) {
    this.#options = options;
    this.#programs = new PromiseCache({
      release: (program) => options.engine.release(program),
      capacity: MAX_PROGRAMS,
    });
  }

  /** Mean loss and the task's metrics over labelled examples. */
  async evaluate(examples: readonly Example[], progress?: Progress): Promise<Metrics> {
    const { task } = this.#options;
    const { results, loss } = await this.#run(examples, progress);
    const { scalars, details } = task.metrics(examples, results);
    return { scalars: { loss, ...scalars }, details };
  }

  /** The task's prediction for each input; `examples` are those of the inputs. */
  async predict(
    inputs: readonly Input[],
    examples: readonly Example[],
    progress?: Progress,
  ): Promise<unknown[]> {
    const { results } = await this.#run(examples, progress);
    return this.#options.task.predictions(inputs, examples, results);
  }

  /** Release the compiled programs; those needed again are compiled again. */
  async release(): Promise<void> {
    await this.#programs.clear();
  }

  /** What the task keeps of each example, in order, and the mean loss. */
  async #run(
    examples: readonly Example[],
    progress?: Progress,
  ): Promise<{ results: unknown[]; loss: number }> {
    const { task } = this.#options;
    const results: unknown[] = [];
    let lossSum = 0;
    let labels = 0;
    for await (const batch of this.#batches(examples, progress)) {
      for (const [row, index] of batch.indices.entries()) {
        results[index] = task.decode(batch.outputs, row, examples[index]!);
      }
      lossSum += batch.lossSum;
      labels += task.countLabels(batch.feeds);
    }
    return { results, loss: labels === 0 ? 0 : lossSum / labels };
  }

  async *#batches(examples: readonly Example[], progress?: Progress): AsyncGenerator<BatchResult> {
    const { engine, task, maxLength, padTokenId } = this.#options;
    const batch = Math.min(this.#options.batchSize, nextPowerOfTwo(examples.length));
    const lengths = examples.map(({ inputIds }) => inputIds.length);
    let done = 0;
    for (const plan of planBatches(lengths, {
      batchSize: batch,
      shuffle: false,
      maxLength,
      lengthMultiple: engine.lengthMultiple,
    })) {
      const shape = { batch, length: plan.length };
      const own = plan.indices.map((index) => examples[index]!);
      const feeds = task.collate(own, shape, padTokenId);
      const program = await this.#program({ batch, length: engine.graphLength(plan.length) });
      const fetch = Object.keys(program.model.outputs);
      const { outputs } = await engine.run(program, { feeds, fetch });
      const lossSum = outputs[LOSS]!.data[0] as number;
      yield { indices: plan.indices, outputs, lossSum, feeds };
      done += own.length;
      progress?.(done, examples.length);
    }
  }

  #program(shape: InputShape): Promise<Program> {
    return this.#programs.get(`${shape.batch}x${shape.length}`, () => this.#compile(shape));
  }

  async #compile(shape: InputShape): Promise<Program> {
    const { engine, model, task, names } = this.#options;
    model.eval();
    const { results, lossSum } = task.build(model, shape);
    const graph = deadRows({ outputs: { ...results, [LOSS]: lossSum } });
    const bound = bindParameters(graph, model, names);
    return compile(engine, bound);
  }
}

/** Few texts are computed in a batch of about their number. */
function nextPowerOfTwo(count: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, count)));
}

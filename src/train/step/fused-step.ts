/** @file Training steps that are one compiled graph each (step.ts). */
import type { Program } from "../../runtime/engine.ts";
import { PromiseCache } from "../promise-cache.ts";
import { buildStep, type StepKind } from "./step.ts";
import {
  compileStep,
  type MicroBatch,
  type StepContext,
  type StepFeeds,
  type StepPrograms,
  type StepResult,
} from "./step-programs.ts";

interface CompiledStep {
  readonly program: Program;
  readonly updates: Readonly<Record<string, string>>;
}

export class FusedStep implements StepPrograms {
  readonly #context: StepContext;
  readonly #compiled: PromiseCache<CompiledStep>;
  /** Made once: later programs find gradients there that they add to. */
  #gradients: Promise<void> | undefined;

  constructor(context: StepContext) {
    this.#context = context;
    this.#compiled = new PromiseCache({
      release: ({ program }) => context.engine.release(program),
    });
  }

  async run(batch: MicroBatch, kind: StepKind, feeds: StepFeeds): Promise<StepResult> {
    const { program, updates } = await this.#compile(batch, kind);
    const { outputs } = await this.#context.engine.run(program, {
      feeds: { ...batch.feeds, ...feeds },
      updates,
      fetch: kind.update ? ["loss", "grad_norm"] : ["loss"],
    });
    const gradNorm = kind.update ? (outputs["grad_norm"]!.data[0] as number) : 0;
    return { loss: outputs["loss"]!.data[0] as number, gradNorm };
  }

  async release(): Promise<void> {
    await this.#compiled.clear();
  }

  #compile(batch: MicroBatch, kind: StepKind): Promise<CompiledStep> {
    const key = `${batch.key}|${kind.accumulated}|${kind.update}`;
    return this.#compiled.get(key, () => this.#compileNew(batch, kind));
  }

  async #compileNew(batch: MicroBatch, kind: StepKind): Promise<CompiledStep> {
    const { model, buckets, options } = this.#context;
    const lossSum = batch.lossSum();
    const { graph, updates } = buildStep(model, buckets, lossSum, kind, options, options);
    if (!kind.update) await (this.#gradients ??= this.#prepareGradients());
    return { program: await compileStep(this.#context, graph), updates };
  }

  /** The vectors that hold gradients between micro-batches. */
  async #prepareGradients(): Promise<void> {
    for (const { names, length } of this.#context.buckets) {
      const data = new Float32Array(length);
      await this.#context.engine.put(names.gradient, { dtype: "float32", shape: [length], data });
    }
  }
}

/**
 * @file A training step for many trainable parameters, as when a whole model is trained: one graph leaves the gradients, and the
 * optimizer runs over them in place. On the CPU that is one pass over memory (runtime/adamw-kernel.ts); elsewhere a graph for a
 * piece of a few hundred thousand elements, which runs over all pieces.
 *
 * Parameters, both moments and gradients then exist once, 16 bytes for each trained number; in one graph (step.ts) they
 * take 28, since it never writes what it reads.
 */
import type { Graph } from "../../graph/graph.ts";
import { input } from "../../graph/leaves.ts";
import type { Tensor } from "../../graph/node.ts";
import type { ParameterRule } from "../../lora/lora-plus.ts";
import { bindParameters } from "../../nn/bind.ts";
import type { Module } from "../../nn/module.ts";
import { add } from "../../ops/elementwise.ts";
import { scatterAddRowsOp } from "../../ops/indexing.ts";
import { adamwFactors, type AdamWOptions } from "../../optim/adamw.ts";
import { clipFactor, globalNorm } from "../../optim/clip.ts";
import { PASSES, type OptimizeOptions } from "../../passes/optimize.ts";
import type { Engine, Program } from "../../runtime/engine.ts";
import { PromiseCache } from "../promise-cache.ts";
import {
  gradientsOf,
  optionsUnder,
  scalarInput,
  STEP_INPUTS,
  updated,
  type StepKind,
} from "./step.ts";
import {
  compileStep,
  scalar,
  type MicroBatch,
  type StepContext,
  type StepFeeds,
  type StepPrograms,
  type StepResult,
} from "./step-programs.ts";
import { STATE, type Bucket } from "./trainable.ts";

/** Elements of a piece (LOG.md has the numbers). */
const PIECE_ELEMENTS = 2 ** 18;

const GRADIENT_SCALE = "gradient_scale";

/** Where the gradient of a parameter is in the engine's store. */
const GRADIENT = "gradient.";
const gradientName = (parameter: string): string => GRADIENT + parameter;
/** The output that is written over an input. */
const NEXT = "next.";
const nextName = (input: string): string => NEXT + input;

/** The gradients of a micro-batch: outputs "loss", with `update` "grad_norm", and the next value of each gradient in the
 * store. With `accumulated` all are added to what is there, else those that are inputs of the graph, to zeros. */
export function buildGradients(
  model: Module,
  buckets: readonly Bucket[],
  lossSum: Tensor,
  { accumulated, update }: StepKind,
  { passes = PASSES }: Pick<OptimizeOptions, "passes"> = {},
): Graph {
  const members = buckets.flatMap((bucket) => bucket.members);
  const { loss, gradients } = gradientsOf(buckets, lossSum, passes);
  const sums = gradients.map((gradient, i) => {
    const name = gradientName(members[i]!.name);
    // Rows are added to what is there, instead of to another tensor of the embedding's size.
    return accumulated || gradient.node.op === scatterAddRowsOp
      ? add(input(name, "float32", gradient.shape), gradient)
      : gradient;
  });
  const named = sums.map((sum, i) => [nextName(gradientName(members[i]!.name)), sum] as const);
  const outputs = {
    loss,
    ...(update ? { grad_norm: globalNorm(sums) } : {}),
    ...Object.fromEntries(named),
  };
  return bindParameters({ outputs }, model);
}

/** AdamW for a piece: inputs and outputs "parameter", "firstMoment" and "secondMoment" [length]; also reads "gradient" [length]
 * and its factor "gradient_scale" []. */
export function buildUpdate(length: number, rule: ParameterRule, options: AdamWOptions): Graph {
  const vector = (name: string): Tensor => input(name, "float32", [length]);
  const state = {
    parameter: vector("parameter"),
    firstMoment: vector("firstMoment"),
    secondMoment: vector("secondMoment"),
  };
  const next = updated(state, vector("gradient"), scalarInput(GRADIENT_SCALE), rule, options);
  return { outputs: Object.fromEntries(STATE.map((key) => [nextName(key), next[key]])) };
}

/** A part of a bucket that a graph updates: where the optimizer's inputs are in the store. */
interface Piece {
  readonly rule: ParameterRule;
  readonly length: number;
  readonly reads: Readonly<Record<(typeof STATE)[number] | "gradient", string>>;
}

export class SplitStep implements StepPrograms {
  readonly #context: StepContext;
  readonly #states: readonly Bucket[];
  readonly #pieces: readonly Piece[];
  readonly #programs: PromiseCache<Program>;

  private constructor(context: StepContext, states: readonly Bucket[], pieces: readonly Piece[]) {
    this.#context = context;
    this.#states = states;
    this.#pieces = pieces;
    this.#programs = new PromiseCache({ release: (program) => context.engine.release(program) });
  }

  /** Make room for the state of the buckets, zero at first: before they are loaded.
   * @param pieceElements of a piece, also where there need be none; default: pieces only where there is no other way */
  static async create(context: StepContext, pieceElements?: number): Promise<SplitStep> {
    const { engine, buckets } = context;
    const states: Bucket[] = [];
    const pieces: Piece[] = [];
    for (const bucket of buckets) {
      const { names, members, length } = bucket;
      if (pieceElements === undefined && (await engine.state(names, length))) {
        states.push(bucket);
      } else {
        const data = new Float32Array(length);
        await engine.put(names.gradient, { dtype: "float32", shape: [length], data });
        pieces.push(...(await namePieces(engine, bucket, pieceElements ?? PIECE_ELEMENTS)));
      }
      for (const { name, parameter, offset } of members) {
        const view = { of: names.gradient, offset, shape: parameter.shape };
        await engine.view(gradientName(name), view);
      }
    }
    return new SplitStep(context, states, pieces);
  }

  async run(batch: MicroBatch, kind: StepKind, feeds: StepFeeds): Promise<StepResult> {
    const { engine, options } = this.#context;
    const program = await this.#gradients(batch, kind);
    if (!kind.accumulated) {
      const begun = Object.keys(program.model.inputs).filter((name) => name.startsWith(GRADIENT));
      await engine.zero(begun);
    }
    const written = Object.keys(program.model.outputs).filter((name) => name.startsWith(NEXT));
    const { outputs } = await engine.run(program, {
      feeds: { ...batch.feeds, ...feeds },
      writes: Object.fromEntries(written.map((name) => [name, name.slice(NEXT.length)])),
      fetch: kind.update ? ["loss", "grad_norm"] : ["loss"],
    });
    const loss = outputs["loss"]!.data[0] as number;
    if (!kind.update) return { loss, gradNorm: 0 };
    const gradNorm = outputs["grad_norm"]!.data[0] as number;
    const factor =
      options.maxGradNorm === undefined ? 1 : clipFactor(gradNorm, options.maxGradNorm);
    // What is no number would spoil the optimizer's state for good.
    if (Number.isFinite(gradNorm)) {
      await this.#updateStates(feeds, factor);
      await this.#updatePieces({ ...feeds, [GRADIENT_SCALE]: scalar(factor) });
    }
    return { loss, gradNorm };
  }

  async release(): Promise<void> {
    await this.#programs.clear();
  }

  async #updateStates(feeds: StepFeeds, gradientScale: number): Promise<void> {
    const { engine, options } = this.#context;
    const value = (name: string): number => feeds[name]!.data[0] as number;
    const { learningRate, biasCorrection1, biasCorrection2 } = STEP_INPUTS;
    const biasCorrections = [value(biasCorrection1), value(biasCorrection2)] as const;
    for (const { names, rate, decays } of this.#states) {
      const scalars = { learningRate: rate * value(learningRate), biasCorrections, gradientScale };
      const own = optionsUnder({ decays }, options);
      await engine.adamw(names.parameter, adamwFactors(scalars, own));
    }
  }

  async #updatePieces(feeds: StepFeeds): Promise<void> {
    // All are asked for at once: the engine need not wait for this thread between two of them.
    await Promise.all(
      this.#pieces.map(async ({ rule, length, reads }) => {
        const program = await this.#optimizer(length, rule);
        const writes = Object.fromEntries(STATE.map((key) => [nextName(key), reads[key]]));
        await this.#context.engine.run(program, { feeds, reads, writes });
      }),
    );
  }

  #gradients(batch: MicroBatch, kind: StepKind): Promise<Program> {
    const { model, buckets, options } = this.#context;
    return this.#program(`${batch.key}|${kind.accumulated}|${kind.update}`, () =>
      buildGradients(model, buckets, batch.lossSum(), kind, options),
    );
  }

  #optimizer(length: number, { rate, decays }: ParameterRule): Promise<Program> {
    const { options } = this.#context;
    return this.#program(`${length}|${rate}|${decays}`, () =>
      buildUpdate(length, { rate, decays }, options),
    );
  }

  #program(key: string, build: () => Graph): Promise<Program> {
    return this.#programs.get(key, async () => compileStep(this.#context, build()));
  }
}

async function namePieces(
  engine: Engine,
  { names, rate, decays, length }: Bucket,
  pieceElements: number,
): Promise<Piece[]> {
  const pieces: Piece[] = [];
  for (let offset = 0; offset < length; offset += pieceElements) {
    const shape = [Math.min(pieceElements, length - offset)];
    const view = async (of: string): Promise<string> => {
      const name = `${of}[${offset}]`;
      await engine.view(name, { of, offset, shape });
      return name;
    };
    const reads = {
      parameter: await view(names.parameter),
      firstMoment: await view(names.firstMoment),
      secondMoment: await view(names.secondMoment),
      gradient: await view(names.gradient),
    };
    pieces.push({ rule: { rate, decays }, length: shape[0]!, reads });
  }
  return pieces;
}

/**
 * @file What an interrupted run needs to go on as if nothing had been: beside what was trained, its directory then holds
 *
 *     training_state.json          how far it is, and what it was trained on
 *     training_state.safetensors   trained weights, both moments of AdamW (exp_avg, exp_avg_sq), the best weights so far
 *
 * Everything else that a run depends on is a function of its options: the order of the data, dropout, learning rates.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { LowrankError } from "../errors.ts";
import { readJsonAs, writeJson } from "../io/files.ts";
import {
  elementCount,
  readFloat32,
  readHeader,
  writeLazySafetensors,
  type LazyTensor,
} from "../io/safetensors.ts";
import type { Engine } from "../runtime/engine.ts";
import type { Example } from "../tasks/task.ts";
import { metricsSchema } from "./manifest.ts";
import type { Snapshot } from "./step/snapshot.ts";
import { filledVector, partOf, STATE, type Bucket } from "./step/trainable.ts";

export const STATE_FILE = "training_state.json";
export const STATE_WEIGHTS_FILE = "training_state.safetensors";

const count = z.number().int().min(0);

const loopStateSchema = z.object({
  /** Optimizer steps made. */
  step: count,
  /** Batches computed, of which several can make a step. */
  microBatches: count,
  /** The last step after which the validation data was evaluated; 0: none. */
  evaluatedStep: count,
  /** Trained on, padding not counted. */
  tokens: count,
  /** Losses of the current epoch's steps. */
  losses: z.array(z.number()),
  /** The best step so far, by the validation data. */
  best: z.object({ step: count, metrics: metricsSchema.optional() }).optional(),
  /** Evaluations since then. */
  sinceBest: count,
  seconds: z.number(),
  /** Of those, how many went into evaluations. */
  evaluationSeconds: z.number(),
});

/** Where a training loop is. */
export type LoopState = z.infer<typeof loopStateSchema>;

const stateSchema = z.object({
  /** Version of this format. */
  format: z.literal(1),
  loop: loopStateSchema,
  /** Absolute paths; null for rows in memory or where there is none. */
  data: z.string().nullable(),
  validationData: z.string().nullable(),
  /** SHA-256 of the examples, as the task made them. */
  examples: z.string(),
});

type StateDescription = z.infer<typeof stateSchema>;

export type Sources = Pick<StateDescription, "data" | "validationData">;

/** What the names in the file of weights begin with. */
const KEYS = {
  parameter: "parameter",
  firstMoment: "exp_avg",
  secondMoment: "exp_avg_sq",
  best: "best",
} as const;

const stateKey = (key: keyof typeof KEYS, name: string): string => `${KEYS[key]}.${name}`;

/** The part of a bucket that is being read. */
const VIEW = "training_state";

/** Reads values of a parameter into an array. */
export type ReadState = (key: keyof typeof KEYS, name: string, into: Float32Array) => Promise<void>;

export interface StateToWrite {
  readonly loop: LoopState;
  /** The weights of `loop.best`, where they are others than the current ones. */
  readonly best?: Snapshot | undefined;
  readonly engine: Engine;
  readonly buckets: readonly Bucket[];
  readonly sources: Sources;
  readonly examples: string;
}

/** Write both files into a directory under construction; none of them where that fails. Throws LowrankError("io"). */
export async function writeTrainingState(directory: string, state: StateToWrite): Promise<void> {
  const { loop, sources, examples } = state;
  const description: StateDescription = { format: 1, loop, ...sources, examples };
  try {
    await writeLazySafetensors(join(directory, STATE_WEIGHTS_FILE), stateTensors(state));
    await writeJson(join(directory, STATE_FILE), description);
  } catch (error) {
    await rm(join(directory, STATE_WEIGHTS_FILE), { force: true });
    throw error;
  }
}

/** A tensor is read from the engine when it is its turn, through a view of its part of the bucket. */
function stateTensors({ engine, buckets, best }: StateToWrite): LazyTensor[] {
  return buckets.flatMap(({ names, members }) =>
    members.flatMap((member): LazyTensor[] => {
      const { name, parameter, offset } = member;
      const { shape } = parameter;
      const tensor = (key: keyof typeof KEYS, data: LazyTensor["data"]): LazyTensor => ({
        name: stateKey(key, name),
        dtype: "F32",
        shape,
        data,
      });
      const stored = STATE.map((key) =>
        tensor(key, async () => {
          await engine.view(VIEW, { of: names[key], offset, shape });
          return (await engine.get(VIEW)).data as Float32Array;
        }),
      );
      const kept = best?.get(names.parameter);
      if (!kept) return stored;
      return [...stored, tensor("best", () => Promise.resolve(partOf(kept, member)))];
    }),
  );
}

/** The state that an interrupted run left. */
export interface TrainingState {
  readonly loop: LoopState;
  readonly sources: Sources;
  readonly examples: string;
  /** Fills a parameter's weights or moments. */
  readonly fill: ReadState;
  /** The weights of `loop.best`; undefined where they are the current ones. */
  readBest(buckets: readonly Bucket[]): Promise<Snapshot | undefined>;
}

/** Read what an interrupted run left. Throws LowrankError: "usage" where nothing is left to do, "config" and "checkpoint" for
 * damaged files. */
export async function readTrainingState(directory: string): Promise<TrainingState> {
  const file = join(directory, STATE_FILE);
  if (!existsSync(file)) {
    throw new LowrankError(
      "usage",
      `${directory}: expected a run that was interrupted (with ${STATE_FILE}), got none. ` +
        "A finished run has nothing left to do; a new one can train on what it made (`adapter`).",
    );
  }
  const { loop, data, validationData, examples } = await readJsonAs(file, "state of a run", {
    schema: stateSchema,
    remedy: "Use the version that wrote it.",
  });
  const weightsFile = join(directory, STATE_WEIGHTS_FILE);
  const { tensors } = await readHeader(weightsFile);
  const fill: ReadState = async (key, name, into) => {
    const info = tensors.get(stateKey(key, name));
    if (info?.dtype === "F32" && elementCount(info.shape) === into.length) {
      await readFloat32(info, into);
      return;
    }
    const found = info ? `${info.dtype} [${info.shape.join(", ")}]` : "none";
    throw new LowrankError(
      "checkpoint",
      `${weightsFile}: ${stateKey(key, name)}: expected ${into.length} numbers (F32), got ${found}. ` +
        "Continue with the base model that the run began with.",
    );
  };
  return {
    loop,
    sources: { data, validationData },
    examples,
    fill,
    async readBest(buckets) {
      if (!loop.best || loop.best.step === loop.step) return undefined;
      const best = new Map<string, Float32Array>();
      for (const bucket of buckets) {
        const values = await filledVector(bucket, (name, into) => fill("best", name, into));
        best.set(bucket.names.parameter, values);
      }
      return best;
    },
  };
}

/** A fingerprint of what a run trains on and is evaluated on: other texts, labels or tokens make another one. */
export function examplesHash(...sets: readonly (readonly Example[])[]): string {
  const hash = createHash("sha256");
  for (const [index, examples] of sets.entries()) {
    hash.update(`${index}\n`);
    for (const example of examples) hash.update(`${JSON.stringify(example, plainArrays)}\n`);
  }
  return hash.digest("hex");
}

/** For JSON.stringify. */
function plainArrays(_: string, value: unknown): unknown {
  return ArrayBuffer.isView(value) ? Array.from(value as Int32Array) : value;
}

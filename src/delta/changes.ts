/**
 * @file The change of every tensor of a trained directory (source.ts), one after the other: memory holds one tensor, whatever
 * the model's size. What is measured of a change is in spectrum.ts.
 */
import { LowrankError } from "../errors.ts";
import { findNonFinite } from "../io/float16.ts";
import { matrixOf, type Matrix } from "../linalg/matrix.ts";
import type { Product } from "../lora/host-merge.ts";
import { Conv1D, Embedding, Linear } from "../nn/layers.ts";
import type { Module } from "../nn/module.ts";
import { openTrained, parametersByPath, type Trained, type TrainedTensor } from "./source.ts";

export { trainedKind, type Trained, type TrainedKind } from "./source.ts";

/** ΔW [m, n], dense or as the product that an adapter makes. */
export type Change = Matrix | Product;

/** Whether a change is known as a product. */
export const isProduct = (change: Change): change is Product => "left" in change;

/** What is known of a tensor before it is read. */
export interface ChangedTensor {
  /** In the base model, e.g. "bert.encoder.layer.0.attention.self.query.weight". */
  readonly name: string;
  readonly shape: readonly number[];
  /** Paths of the modules that share it, the first of which gives the name. */
  readonly modules: readonly string[];
}

/** A weight of a Linear, Conv1D or Embedding: what a low-rank matrix can approximate. */
export interface MatrixChange extends ChangedTensor {
  readonly kind: "matrix";
  readonly layer: "Linear" | "Conv1D" | "Embedding";
  /** W' - W in the layout of the weight: [out, in], Conv1D [in, out], Embedding [vocabulary, dim]. */
  readonly change: Change;
}

/** A bias, a norm's weight, or a tensor that the base does not have: a new head. */
export interface OtherChange extends ChangedTensor {
  readonly kind: "other";
  readonly isNew: boolean;
}

export type TensorChange = MatrixChange | OtherChange;

/** A trained directory, open. */
export interface Changes extends Omit<Trained, "tensors"> {
  /** Every tensor that changed, or those of a filter, in the model's order; each call reads the files anew. Throws
   * LowrankError("checkpoint") for numbers that are none, and for a stored change that was made of another base. */
  tensors(filter?: (tensor: ChangedTensor) => boolean): AsyncGenerator<TensorChange>;
  /** The values of a tensor after training, by its name in the base model. */
  trained(name: string): Promise<Float32Array>;
}

/**
 * Open the change of a directory (a stored change, a fine-tuned model, a PEFT adapter) against its base model:
 *
 *     const changes = await openChanges({ from: "spam-delta", base: "minilm" });
 *     for await (const tensor of changes.tensors()) if (tensor.kind === "matrix") singularValues(tensor.change);
 *
 * Reads no weights yet. Throws LowrankError.
 */
export async function openChanges({
  from,
  base,
}: {
  from: string;
  base: string;
}): Promise<Changes> {
  const trained = await openTrained(from, base);
  const modules = new Map(trained.base.model.namedModules());
  const { tensors: pairs, ...rest } = trained;
  return {
    ...rest,
    async *tensors(filter = () => true) {
      for (const pair of pairs) {
        if (!filter(pair)) continue;
        const changed = await changeOf(pair, modules, from);
        if (changed) yield changed;
      }
    },
    async trained(name) {
      const pair = pairs.find(
        (candidate) =>
          candidate.name === name ||
          candidate.modules.some((path) => name === path + nameInModule(candidate.name)),
      );
      const values = pair ? await pair.after() : await baseValues(trained, name);
      return requireFinite(values, name, from);
    },
  };
}

/** ".weight" of "classifier.weight". */
const nameInModule = (name: string): string => name.slice(name.lastIndexOf("."));

/** The change of a tensor; undefined where it has none. */
async function changeOf(
  pair: TrainedTensor,
  modules: ReadonlyMap<string, Module>,
  from: string,
): Promise<TensorChange | undefined> {
  const { name, shape, modules: paths } = pair;
  const described = { name, shape, modules: paths };
  const layer = layerOf(modules.get(paths[0]!), name);
  if (pair.product && layer) {
    const change = await pair.product();
    requireFinite(change.left.data, name, from);
    requireFinite(change.right.data, name, from);
    const isZero = [change.left, change.right].some(({ data }) => data.every((x) => x === 0));
    return isZero ? undefined : { ...described, kind: "matrix", layer, change };
  }
  const after = requireFinite(await pair.after(), name, from);
  if (!pair.before) return { ...described, kind: "other", isNew: true };
  const before = await pair.before();
  if (after.every((value, i) => value === before[i])) return undefined;
  if (!layer) return { ...described, kind: "other", isNew: false };
  const [rows, columns] = shape as [number, number];
  const change = matrixOf(rows, columns, after);
  for (let i = 0; i < before.length; i++) change.data[i]! -= before[i]!;
  requireFinite(change.data, name, from);
  return { ...described, kind: "matrix", layer, change };
}

/** What a tensor is the weight of, where it is a matrix that can be adapted. */
function layerOf(module: Module | undefined, name: string): MatrixChange["layer"] | undefined {
  return module !== undefined && name.endsWith(".weight") ? layerName(module) : undefined;
}

/** The kind of a module that can be adapted. */
export function layerName(module: Module): MatrixChange["layer"] | undefined {
  if (module instanceof Linear) return "Linear";
  if (module instanceof Conv1D) return "Conv1D";
  return module instanceof Embedding ? "Embedding" : undefined;
}

async function baseValues({ base, directory }: Trained, name: string): Promise<Float32Array> {
  const parameter = parametersByPath(base.model).get(name);
  if (parameter) return parameter.values({ name, shape: parameter.shape, seed: 0 });
  throw new LowrankError("checkpoint", `${directory}: the model has no tensor "${name}".`);
}

/** Throws LowrankError("checkpoint") for numbers that are none. */
export function requireFinite<T extends Float32Array | Float64Array>(
  values: T,
  name: string,
  from: string,
): T {
  const index =
    values instanceof Float32Array
      ? findNonFinite(values)
      : values.findIndex((value) => !Number.isFinite(value));
  if (index === -1) return values;
  throw new LowrankError(
    "checkpoint",
    `${from}: ${name}: expected finite numbers, got ${values[index]} at element ${index}. ` +
      "What was trained is broken: train again with a lower learning rate, or save it again.",
  );
}

/**
 * @file Adapters that start as a part of the weight, which the weight then lacks, so that nothing changes at first:
 *
 *     PiSSA   W ≈ U·S·V, A = √(S/scale)·V, B = U·√(S/scale)     the leading r singular values
 *     OLoRA   W = Q·R, A = R's first r rows, B = Q's first r columns
 *
 * and W becomes W - scale·B·A. A file holds A and B alone: the same part is taken out of the weight again on loading.
 * Sources: https://arxiv.org/abs/2404.02948, https://arxiv.org/abs/2406.01775; the forms are those of peft 0.21
 */
import { matrixOf, rowOf, times, transposed, type Matrix } from "../linalg/matrix.ts";
import { thinQr } from "../linalg/qr.ts";
import { randomizedSvd, truncatedSvd, type Svd } from "../linalg/svd.ts";
import type { Values, ValuesContext } from "../nn/init.ts";
import { Conv1D, type Linear } from "../nn/layers.ts";
import type { LoraConfig } from "./config.ts";

/** Where A and B and what is left of the weight come from. Computed once, when one of them is first asked for. */
export interface InitialFactors {
  /** [r, in] */
  readonly a: Values;
  /** [out, r] */
  readonly b: Values;
  /** The weight without scale·B·A, in its own layout. */
  readonly residual: Values;
}

/** Whether an initialisation takes a part of the weight. */
export function isFromWeight(init: LoraConfig["initLoraWeights"]): init is string {
  return typeof init === "string" && (init === "olora" || init.startsWith("pissa"));
}

/** Split the values that a layer's weight has now. */
export function initialFactors(
  base: Linear | Conv1D,
  { r, scale, init }: { r: number; scale: number; init: string },
): InitialFactors {
  const { values, shape } = base.weight;
  const read = (context: ValuesContext) => values({ ...context, shape });
  let made: Promise<Factors> | undefined;
  const factors = (context: ValuesContext): Promise<Factors> => {
    made ??= (async () => split(outByIn(await read(context), base), { r, scale, init }))();
    return made;
  };
  return {
    a: async (context) => (await factors(context)).a.slice(),
    b: async (context) => (await factors(context)).b.slice(),
    residual: async (context) => {
      const weight = await read(context);
      const { a, b } = await factors(context);
      const [out, inner] = [base.outFeatures, base.inFeatures];
      const delta = times(matrixOf(out, r, b), matrixOf(r, inner, a));
      const { data } = base instanceof Conv1D ? transposed(delta) : delta;
      for (let i = 0; i < data.length; i++) weight[i]! -= scale * data[i]!;
      return weight;
    },
  };
}

interface Factors {
  readonly a: Float32Array;
  readonly b: Float32Array;
}

/** A layer's weight as [out, in]. */
function outByIn(values: Float32Array, base: Linear | Conv1D): Matrix {
  const [rows, columns] = base.weight.shape as [number, number];
  const weight = matrixOf(rows, columns, values);
  return base instanceof Conv1D ? transposed(weight) : weight;
}

function split(
  weight: Matrix,
  { r, scale, init }: { r: number; scale: number; init: string },
): Factors {
  if (init === "olora") {
    const { q, r: upper } = thinQr(weight, r);
    return { a: Float32Array.from(upper.data), b: Float32Array.from(transposed(q).data) };
  }
  const rounds = /^pissa_niter_(\d+)$/.exec(init)?.[1];
  const svd =
    rounds === undefined ? truncatedSvd(weight, r) : randomizedSvd(weight, r, Number(rounds));
  return pissa(svd, scale);
}

function pissa({ left, values, right }: Svd, scale: number): Factors {
  for (const [k, value] of values.entries()) {
    const root = Math.sqrt(value / scale);
    for (const vector of [rowOf(left, k), rowOf(right, k)]) {
      for (let i = 0; i < vector.length; i++) vector[i]! *= root;
    }
  }
  return { a: Float32Array.from(right.data), b: Float32Array.from(transposed(left).data) };
}

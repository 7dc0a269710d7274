/**
 * @file A LoRA adapter of a lower rank, the best one: the truncated singular value decomposition of each scale·B·A, from its
 * factors alone. The base model is not needed. Everything else of the adapter stays as it is.
 */
import { basename, join } from "node:path";
import { LowrankError, requireOptions } from "../errors.ts";
import { buildOutputDirectory, readJson, writeFileAtomic } from "../io/files.ts";
import { narrowed } from "../io/float16.ts";
import {
  readFloat32,
  readTensor,
  writeSafetensors,
  type TensorInfo,
  type TensorToWrite,
} from "../io/safetensors.ts";
import { matrixOf } from "../linalg/matrix.ts";
import { rankAndScale, type LoraConfig } from "../lora/config.ts";
import { isFromWeight } from "../lora/initial.ts";
import { adapterConfigText } from "../lora/peft-config.ts";
import {
  ADAPTER_CONFIG_FILE,
  ADAPTER_WEIGHTS_FILE,
  KEY_PREFIX,
  LEGACY_WEIGHTS_FILE,
  openAdapter,
  readAdapterConfig,
} from "../lora/peft-format.ts";
import { approximate, type Target } from "./approximate.ts";
import { carryDescription, carryFiles, CARD_FILE, DESCRIPTION_FILE, writeCard } from "./carry.ts";
import { requireFinite, trainedKind } from "./changes.ts";
import { percent, rankRange, reportOf, shareKept, type MatrixReport } from "./report.ts";
import { halves, loraFactors } from "./factors.ts";
import { rankKeys } from "./layout.ts";
import { targetOf, type RankOptions } from "./rank-options.ts";

export interface ResizeOptions extends RankOptions {
  /** Directory of the adapter. */
  readonly adapter: string;
  /** Directory to write the smaller adapter to. */
  readonly output: string;
  /** Replace an output directory that exists. */
  readonly overwrite?: boolean | undefined;
  /** Called after each matrix. */
  readonly onMatrix?: ((matrix: MatrixReport) => void) | undefined;
}

export interface ResizeReport {
  readonly adapter: string;
  readonly output: string;
  readonly matrices: readonly MatrixReport[];
  /** Ranks of the matrices before, in their order. */
  readonly ranksBefore: readonly number[];
  /** Of all matrices together. */
  readonly energyKept: number;
  /** Of the weights in their files. */
  readonly storedBytes: { readonly before: number; readonly after: number };
}

/**
 * Write an adapter of lower rank: A = √S·Vᵀ, B = U·√S of each module's truncated scale·B·A, scaled by 1. Modules whose rank is
 * lower already keep theirs. What the adapter stores whole, lowrank.json, the tokenizer and unknown options are carried on.
 * Throws LowrankError "usage" for a rank above the adapter's; "config" for DoRA, and for adapters that start from the weight
 * (PiSSA, OLoRA), whose change is more than the product; "io" when the output directory exists. Nothing is written then.
 */
export async function resizeLora(options: ResizeOptions): Promise<ResizeReport> {
  requireOptions("resizeLora", options, {
    adapter: true,
    output: true,
    overwrite: true,
    rank: true,
    energy: true,
    onMatrix: true,
  });
  const target = targetOf(options);
  const { output, overwrite, adapter } = options;
  return buildOutputDirectory(output, { overwrite, inputs: [adapter] }, ({ path }) =>
    resizeInto(path, options, target),
  );
}

async function resizeInto(
  path: string,
  options: ResizeOptions,
  target: Target,
): Promise<ResizeReport> {
  const { adapter, output } = options;
  requireAdapter(adapter);
  const { lora, baseModel } = await readAdapterConfig(adapter);
  requirePlain(adapter, lora);
  const { file, tensors } = await openAdapter(adapter);
  const pairs = pairsOf(file, tensors);
  requireShrinking(adapter, pairs, options);

  const written: TensorToWrite[] = [];
  const matrices: MatrixReport[] = [];
  const ranks = new Map<string, number>();
  for (const pair of pairs) {
    const { report, stored } = await resize(pair, lora, target, adapter);
    ranks.set(pair.module, report.rank);
    matrices.push(report);
    written.push(...stored);
    options.onMatrix?.(report);
  }
  const factors = new Set(pairs.flatMap(({ a, b }) => [a.name, b.name]));
  for (const [name, info] of tensors) {
    if (factors.has(name)) continue;
    const { dtype, shape } = info;
    written.push({ name, dtype, shape, data: await readTensor(info) });
  }
  await writeSafetensors(join(path, ADAPTER_WEIGHTS_FILE), written, { format: "pt" });
  await writeConfig(adapter, path, ranks);
  await carryFiles(adapter, path, (name) => !OWN_FILES.has(name));
  await carryDescription(adapter, path, { target: output });

  const report: ResizeReport = {
    adapter,
    output,
    matrices,
    ranksBefore: pairs.map(({ a }) => a.shape[0]!),
    energyKept: shareKept(matrices),
    storedBytes: {
      before: sum([...tensors.values()].map(({ sizeBytes }) => sizeBytes)),
      after: sum(written.map(({ data }) => data.byteLength)),
    },
  };
  await writeCard(path, { name: basename(output), base: baseModel, text: cardText(report) });
  return report;
}

/** Files that are written anew. */
const OWN_FILES: ReadonlySet<string> = new Set([
  ADAPTER_CONFIG_FILE,
  ADAPTER_WEIGHTS_FILE,
  LEGACY_WEIGHTS_FILE,
  DESCRIPTION_FILE,
  CARD_FILE,
]);

const sum = (numbers: readonly number[]): number => numbers.reduce((total, own) => total + own, 0);

/** Throws LowrankError("usage") for whatever else training wrote. */
function requireAdapter(directory: string): void {
  const kind = trainedKind(directory);
  if (kind === "adapter") return;
  throw new LowrankError(
    "usage",
    `${directory}: expected an adapter, got a ${kind === "delta" ? "stored change" : "whole model"}. ` +
      "Make an adapter of it with extract (lowrank extract --from, or extractLora).",
  );
}

function requirePlain(adapter: string, { useDora, initLoraWeights }: LoraConfig): void {
  const kind = useDora
    ? "DoRA gives each output of W + ΔW its norm, so that its change is more than a product"
    : isFromWeight(initLoraWeights)
      ? `an adapter that starts from the weight (init_lora_weights "${initLoraWeights}") changes the base by what it started from`
      : undefined;
  if (kind === undefined) return;
  throw new LowrankError(
    "config",
    `${adapter}: ${kind}, which a lower rank does not keep. ` +
      `Approximate the whole change: lowrank extract --from ${adapter} --base MODEL.`,
  );
}

/** A and B of a module. */
interface Pair {
  readonly module: string;
  readonly isEmbedding: boolean;
  readonly a: TensorInfo;
  readonly b: TensorInfo;
}

const FACTOR = /^(.*)\.lora_(embedding_)?A(\.weight)?$/;

/** Throws LowrankError("checkpoint") for an A without its B. */
function pairsOf(file: string, tensors: ReadonlyMap<string, TensorInfo>): Pair[] {
  const pairs = [...tensors].flatMap(([key, a]): Pair[] => {
    const [, owner, embedding = "", suffix = ""] = FACTOR.exec(key) ?? [];
    if (owner === undefined) return [];
    const partner = `${owner}.lora_${embedding}B${suffix}`;
    const b = tensors.get(partner);
    if (!b || b.shape[1] !== a.shape[0] || a.shape.length !== 2) {
      throw new LowrankError(
        "checkpoint",
        `${file}: ${key} [${a.shape.join(", ")}]: expected ${partner} beside it, of the same rank, got ` +
          `${b ? `[${b.shape.join(", ")}]` : "none"}. Save the adapter again.`,
      );
    }
    const module = owner.startsWith(KEY_PREFIX) ? owner.slice(KEY_PREFIX.length) : owner;
    return [{ module, isEmbedding: embedding !== "", a, b }];
  });
  if (pairs.length > 0) return pairs;
  throw new LowrankError(
    "checkpoint",
    `${file}: expected LoRA's factors, got none. Check the path.`,
  );
}

function requireShrinking(adapter: string, pairs: readonly Pair[], { rank }: RankOptions): void {
  const most = Math.max(...pairs.map(({ a }) => a.shape[0]!));
  if (rank === undefined || rank <= most) return;
  throw new LowrankError(
    "usage",
    `rank: expected at most ${most}, the rank of ${adapter}, got ${rank}. A higher rank adds nothing to what was trained: ` +
      "pass a lower one, or train with a higher rank.",
  );
}

/** The module's new A and B, in the data types that they had. */
async function resize(
  { module, isEmbedding, a, b }: Pair,
  lora: LoraConfig,
  target: Target,
  adapter: string,
): Promise<{ report: MatrixReport; stored: TensorToWrite[] }> {
  const { scale } = rankAndScale(lora, module);
  const [rank, inner] = a.shape as [number, number];
  const outer = b.shape[0]!;
  const down = requireFinite(await readFloat32(a), a.name, adapter);
  const up = requireFinite(await readFloat32(b), b.name, adapter);
  // As a Linear's, whatever the layer is: ΔW [out, in], of an embedding [dim, vocabulary].
  const left = matrixOf(outer, rank, up);
  const change = {
    left: { ...left, data: left.data.map((value) => scale * value) },
    right: matrixOf(rank, inner, down),
  };
  const approximation = approximate(change, target);
  const both = halves(approximation);
  const factors = loraFactors(both, "Linear");
  const isTransposed = isEmbedding || lora.fanInFanOut;
  const shape = isTransposed ? [inner, outer] : [outer, inner];
  const own = approximation.rank;
  return {
    report: reportOf({ name: `${module}.weight`, shape, change }, approximation, both),
    stored: [stored(a, [own, inner], factors.a), stored(b, [outer, own], factors.b)],
  };
}

function stored(
  { name, dtype }: TensorInfo,
  shape: readonly number[],
  values: Float32Array,
): TensorToWrite {
  const kept = dtype === "F16" || dtype === "BF16" ? dtype : "F32";
  return { name, dtype: kept, shape, data: narrowed(values, kept) };
}

/** adapter_config.json with other ranks; all other keys as they are, known here or not. */
async function writeConfig(
  adapter: string,
  path: string,
  ranks: ReadonlyMap<string, number>,
): Promise<void> {
  const file = join(adapter, ADAPTER_CONFIG_FILE);
  const before = (await readJson(file, "adapter's configuration")) as Record<string, unknown>;
  const { r, loraAlpha, rankPattern, alphaPattern } = rankKeys(ranks);
  const text = adapterConfigText({
    ...before,
    r,
    lora_alpha: loraAlpha,
    rank_pattern: rankPattern,
    alpha_pattern: alphaPattern,
    use_rslora: false,
  });
  await writeFileAtomic(join(path, ADAPTER_CONFIG_FILE), text);
}

function cardText({ adapter, matrices, ranksBefore, energyKept }: ResizeReport): string[] {
  return [
    `The LoRA adapter \`${adapter}\` of rank ${rankRange(ranksBefore)}, which Lowrank reduced to rank ` +
      `${rankRange(matrices.map(({ rank }) => rank))}: ${percent(energyKept)} of the energy of its change is kept.`,
    "The weights are in PEFT's format.",
  ];
}

/**
 * @file A LoRA adapter made of what was trained: each changed matrix by its best approximation of low rank (approximate.ts),
 * what no matrix of low rank covers as PEFT stores it whole: heads, biases, norms.
 *
 *     ΔW = W' - W ≈ B·A,   r·(m + n) numbers instead of m·n
 */
import { basename, resolve } from "node:path";
import { LowrankError, requireOptions } from "../errors.ts";
import { listFirst } from "../format.ts";
import { sizeOf } from "../graph/shape.ts";
import { buildOutputDirectory } from "../io/files.ts";
import { applyLora } from "../lora/apply.ts";
import type { LoraLayer } from "../lora/layers.ts";
import { adapterParameters, KEY_PREFIX, saveAdapterTensors } from "../lora/peft-format.ts";
import { COMPANIONS } from "../lora/save-merged.ts";
import { AutoModel } from "../models/auto.ts";
import { Embedding } from "../nn/layers.ts";
import type { Target } from "./approximate.ts";
import { carryDescription, carryFiles, writeCard } from "./carry.ts";
import { layerName, openChanges, type Changes } from "./changes.ts";
import {
  checkRanks,
  collect,
  configOf,
  targets,
  type Found,
  type TargetOptions,
} from "./collect.ts";
import { loraFactors } from "./factors.ts";
import { adapterLayout, withoutPrefix, type Layout } from "./layout.ts";
import { targetOf, type RankOptions } from "./rank-options.ts";
import { percent, rankRange, shareKept, type MatrixReport } from "./report.ts";

export interface ExtractOptions extends RankOptions, Omit<TargetOptions, "rank"> {
  /** A stored change, a fine-tuned model, or an adapter. */
  readonly from: string;
  /** Directory of the model that it was trained from. */
  readonly base: string;
  /** Directory to write the adapter to. */
  readonly output: string;
  /** Replace an output directory that exists. */
  readonly overwrite?: boolean | undefined;
  /** Adds files to the directory before it is put into place. */
  readonly addFiles?: ((path: string, changes: Changes) => Promise<void>) | undefined;
}

export interface ExtractReport {
  readonly from: string;
  readonly kind: Changes["kind"];
  readonly base: string;
  readonly output: string;
  readonly matrices: readonly MatrixReport[];
  /** Of all approximated matrices together. */
  readonly energyKept: number;
  /** Tensors that are stored whole: heads, biases, norms. */
  readonly whole: readonly { readonly name: string; readonly shape: readonly number[] }[];
  /** Of the weights in their files. */
  readonly storedBytes: { readonly before: number; readonly after: number };
  /** What is lost, one sentence each. */
  readonly warnings: readonly string[];
}

/**
 * Write a LoRA adapter in PEFT's format that approximates a change: A = √S·Vᵀ, B = U·√S of each matrix's truncated singular
 * value decomposition, scaled by 1. Heads and norms that changed go into modules_to_save, biases by `bias`; tokenizer and
 * lowrank.json are carried on. Memory holds one matrix and the adapter.
 * Throws LowrankError "usage" for a rank above a matrix's own (for an embedding only where it is named as a target: a table of
 * two rows has rank 2 at most, and is stored with that), and where rank and energy are both given, or neither;
 * "checkpoint" for a base that does not belong to the change, or numbers that are none; "training" where nothing changed;
 * "io" when the output directory exists. Nothing is written then.
 */
export async function extractLora(options: ExtractOptions): Promise<ExtractReport> {
  requireOptions("extractLora", options, {
    from: true,
    base: true,
    output: true,
    overwrite: true,
    rank: true,
    energy: true,
    targetModules: true,
    onMatrix: true,
    addFiles: true,
  });
  const target = targetOf(options);
  const { output, overwrite, from, base } = options;
  return buildOutputDirectory(output, { overwrite, inputs: [from, base] }, ({ path }) =>
    extractInto(path, options, target),
  );
}

async function extractInto(
  path: string,
  options: ExtractOptions,
  target: Target,
): Promise<ExtractReport> {
  const { from, base, output } = options;
  const changes = await openChanges({ from, base });
  const isTarget = targets(changes, options);
  await checkRanks(changes, isTarget, options);
  const found = await collect(changes, isTarget, target, options);
  requireChange(found, options);
  const layout = adapterLayout(changes.base, found, configOf(changes));
  const storedBytes = await writeAdapter(path, changes, found, layout, resolve(base));
  await carryFiles(from, path, (name) => COMPANIONS.test(name));
  await carryDescription(from, path, { target: output, base });
  await options.addFiles?.(path, changes);
  const report: ExtractReport = {
    from,
    kind: changes.kind,
    base,
    output,
    matrices: found.matrices.map(({ report: own }) => own),
    energyKept: shareKept(found.matrices.map(({ report: own }) => own)),
    whole: layout.whole,
    storedBytes: { before: changes.storedBytes, after: storedBytes },
    warnings: [...bareWarning(changes), ...warningsOf(found, layout)],
  };
  await writeCard(path, { name: basename(output), base, text: cardText(report) });
  return report;
}

function requireChange(found: Found, { from, base, targetModules }: ExtractOptions): void {
  if (found.matrices.length > 0) return;
  const { others, passedOver } = found;
  const problem =
    passedOver.length > 0
      ? `none of the matrices that ${JSON.stringify(targetModules)} names changed; ` +
        `${listed(passedOver)} did. Name one of these`
      : others.length > 0
        ? `no matrix changed but those that are stored whole (${others.length} tensors, e.g. ${others[0]!.name}): there is nothing to approximate. ` +
          "Use what was trained as it is"
        : `no tensor differs from those of ${base}: the change is zero. Check that these are the right directories`;
  throw new LowrankError("training", `${from}: ${problem}.`);
}

/** Write both files of the adapter; returns the bytes of its tensors. */
async function writeAdapter(
  path: string,
  changes: Changes,
  found: Found,
  { lora }: Layout,
  baseModel: string,
): Promise<number> {
  const { base, taskType, config } = changes;
  const { model, family } = await AutoModel.fromPretrained(base.directory, {
    ...(taskType === null ? {} : { task: taskType }),
    config,
    newHead: true,
  });
  const factors = factorsByPath(found, applyLora(model, lora, family));
  const bare = withoutPrefix(changes.barePrefix);
  const tensors = [];
  for (const [key, { shape }] of adapterParameters(model, lora)) {
    const own = key.slice(KEY_PREFIX.length);
    if (!own.startsWith(changes.barePrefix ?? "")) continue;
    const name = own.replace(".base_layer.", ".");
    const values = factors.get(own) ?? (await changes.trained(name));
    tensors.push({ path: bare.path(own), shape, values });
  }
  await saveAdapterTensors(path, model, tensors, { lora: bare.config(lora), baseModel });
  return tensors.reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
}

/** A and B by their paths in a model with adapters. A weight may belong to an embedding and to a projection, each of which
 * has its own orientation. */
function factorsByPath(
  { matrices }: Found,
  layers: ReadonlyMap<string, LoraLayer>,
): Map<string, Float32Array> {
  const result = new Map<string, Float32Array>();
  for (const { paths, halves: both } of matrices) {
    for (const module of paths) {
      const base = layers.get(module)!.base_layer;
      const { a, b } = loraFactors(both, layerName(base)!);
      const isEmbedding = base instanceof Embedding;
      result.set(`${module}.${isEmbedding ? "lora_embedding_A" : "lora_A.weight"}`, a);
      result.set(`${module}.${isEmbedding ? "lora_embedding_B" : "lora_B.weight"}`, b);
    }
  }
  return result;
}

function bareWarning({ barePrefix, directory }: Changes): string[] {
  if (barePrefix === undefined) return [];
  return [
    `${directory} is a model without a head for a task: PEFT puts the adapter on the bare model (AutoModel), predictions need a head.`,
  ];
}

function warningsOf({ matrices, passedOver }: Found, { lost }: Layout): string[] {
  const warnings: string[] = [];
  if (passedOver.length > 0) {
    const missed = passedOver.reduce((sum, { energy }) => sum + energy, 0);
    const all = matrices.reduce((sum, { report }) => sum + report.norm ** 2, missed);
    warnings.push(
      `${listed(passedOver)} changed as well and ${passedOver.length === 1 ? "is" : "are"} no target: ` +
        `${(100 * (missed / all)).toPrecision(3)} % of the change's energy is left out.`,
    );
  }
  if (lost.length > 0) {
    const numbers = lost.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    warnings.push(
      `${listed(lost)} changed (${numbers} numbers) and cannot be part of an adapter: the change is left out.`,
    );
  }
  return warnings;
}

function listed(tensors: readonly { readonly name: string }[]): string {
  return listFirst(
    tensors.map(({ name }) => name),
    5,
  );
}

function cardText({ from, base, matrices, energyKept, kind }: ExtractReport): string[] {
  const source = { delta: "stored change", model: "fine-tuned model", adapter: "adapter" }[kind];
  return [
    `A LoRA adapter that Lowrank extracted from the ${source} \`${from}\` on the base model \`${base}\`: ${matrices.length} matrices, ` +
      `approximated with rank ${rankRange(matrices.map(({ rank }) => rank))}, which keeps ${percent(energyKept)} of the energy of their change.`,
    "The weights are in PEFT's format.",
  ];
}

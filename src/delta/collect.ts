/** @file Which matrices of a change are approximated, and their approximations; what is left for the rest of an adapter. */
import { loraConfig, type LoraConfig } from "../lora/config.ts";
import { findTargets, isSaved, modulesToSave } from "../lora/targets.ts";
import { parentOf } from "../nn/path.ts";
import { approximate, type Target } from "./approximate.ts";
import {
  type ChangedTensor,
  type Changes,
  type MatrixChange,
  type TensorChange,
} from "./changes.ts";
import { halves, type Halves } from "./factors.ts";
import { tooHighRank } from "./rank-options.ts";
import { reportOf, type MatrixReport } from "./report.ts";
import { energyOfChange } from "./spectrum.ts";

/** What decides which matrices are approximated. */
export interface TargetOptions {
  readonly rank?: number | undefined;
  /** Which matrices to approximate, as in PEFT; default: every one that changed. */
  readonly targetModules?: LoraConfig["targetModules"] | undefined;
  /** Called after each matrix. */
  readonly onMatrix?: ((matrix: MatrixReport) => void) | undefined;
}

/** What the adapter's configuration is by its source, its targets not known yet. */
export function configOf({ taskType, lora }: Changes): LoraConfig {
  return loraConfig({ taskType, modulesToSave: lora?.modulesToSave ?? null });
}

export type IsTarget = (modulePath: string) => boolean;

/** Which modules are approximated: all but those that are stored whole, or those that are asked for. */
export function targets(changes: Changes, { targetModules = null }: TargetOptions): IsTarget {
  const config = configOf(changes);
  const { model, family } = changes.base;
  if (targetModules !== null) {
    const wanted = findTargets(model, { ...config, targetModules }, family);
    return (path) => wanted.has(path);
  }
  const saved = modulesToSave(config);
  const added = new Set(changes.base.newParameters.map(parentOf));
  return (path) => !isSaved(path, saved) && !added.has(path);
}

/** Refuse a rank above that of a changed matrix, before anything is decomposed. */
export async function checkRanks(
  changes: Changes,
  isTarget: IsTarget,
  { rank, targetModules }: TargetOptions,
): Promise<void> {
  if (rank === undefined) return;
  const isTooSmall = ({ shape, modules }: ChangedTensor): boolean =>
    shape.length === 2 && Math.min(...shape) < rank && modules.some(isTarget);
  const small: TensorChange[] = [];
  for await (const tensor of changes.tensors(isTooSmall)) {
    if (tensor.kind !== "matrix") continue;
    // A table of two rows stands in no one's way, unless it is asked for.
    if (tensor.layer !== "Embedding" || targetModules) small.push(tensor);
  }
  if (small.length > 0) throw tooHighRank(rank, small);
}

/** An approximated matrix with the modules that get it. */
export interface Extracted {
  readonly paths: readonly string[];
  readonly halves: Halves;
  readonly report: MatrixReport;
}

export interface Found {
  readonly matrices: Extracted[];
  /** Other tensors that changed. */
  readonly others: TensorChange[];
  /** Matrices that changed and are no targets, with their energy. */
  readonly passedOver: { readonly name: string; readonly energy: number }[];
}

export async function collect(
  changes: Changes,
  isTarget: IsTarget,
  target: Target,
  { onMatrix }: TargetOptions,
): Promise<Found> {
  const saved = modulesToSave(configOf(changes));
  const found: Found = { matrices: [], others: [], passedOver: [] };
  for await (const tensor of changes.tensors()) {
    const paths = tensor.modules.filter(isTarget);
    if (tensor.kind === "other" || tensor.modules.some((path) => isSaved(path, saved))) {
      found.others.push(tensor);
    } else if (paths.length === 0) {
      found.passedOver.push({ name: tensor.name, energy: energyOfChange(tensor.change) });
    } else {
      const extracted = extract(tensor, paths, target);
      found.matrices.push(extracted);
      onMatrix?.(extracted.report);
    }
  }
  return found;
}

function extract(tensor: MatrixChange, paths: readonly string[], target: Target): Extracted {
  const approximation = approximate(tensor.change, target);
  const both = halves(approximation);
  return { paths, halves: both, report: reportOf(tensor, approximation, both) };
}

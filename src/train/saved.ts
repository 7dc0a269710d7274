/**
 * @file What training wrote, opened for use whatever it is: an adapter directory (of this library or of PEFT), the change of a
 * model, or a whole model.
 */
import { join } from "node:path";
import { trainedKind, type TrainedKind } from "../delta/source.ts";
import { applyDelta, DELTA_CONFIG_FILE, readDelta, type Delta } from "../delta/format.ts";
import { LowrankError, requirePath } from "../errors.ts";
import { readModelConfig } from "../io/model-config.ts";
import { applyLora } from "../lora/apply.ts";
import { headOutputs, loadAdapterWeights, openAdapter } from "../lora/peft-format.ts";
import { familyOf, type PretrainedModel } from "../models/auto.ts";
import { numLabels } from "../models/family.ts";
import { taskOfModel } from "../models/task-of.ts";
import { freeze } from "../nn/module.ts";
import { findTask } from "../tasks/registry.ts";
import type { Task } from "../tasks/task.ts";
import { isNamedIn, unsavedWarning } from "./base.ts";
import { findBaseModel, MANIFEST_FILE, readManifest, type Manifest } from "./manifest.ts";
import { checkModelType, findAdapter, type SavedAdapter } from "./saved-adapter.ts";
import { storedPlaces, unchanged, type SharedNames } from "./shared-engine.ts";

export interface Saved {
  readonly kind: TrainedKind;
  readonly directory: string;
  /** Absent for what comes from elsewhere. */
  readonly manifest: Manifest | undefined;
  /** Directory of the model that it is put on; a whole model's own. */
  readonly baseModel: string;
  /** What the user should know of it. */
  readonly warnings: readonly string[];
  /** What it was trained for. Throws LowrankError when nothing says so. */
  task(): Promise<Task>;
  /** Put it on its base model, made for the task; what it changes then requires gradients. Gives further warnings, and the base's weights that stay as they are, by the
   * places in files that they are read from. */
  apply(base: PretrainedModel): Promise<{ warnings: readonly string[]; kept: SharedNames }>;
}

/** Open a directory that was trained. `asked`: where the user says that its base model is. Throws LowrankError. */
export async function openSaved(directory: string, asked?: string): Promise<Saved> {
  requirePath("directory", directory);
  const kind = trainedKind(directory);
  if (kind === "delta") return savedDelta(directory, asked);
  if (kind === "model") return savedModel(directory, asked);
  return savedAdapter(directory, await findAdapter(directory, asked));
}

function savedAdapter(directory: string, found: SavedAdapter): Saved {
  const { config, manifest, baseModel, warnings } = found;
  const { lora } = config;
  return {
    kind: "adapter",
    directory,
    manifest,
    baseModel,
    warnings,
    task: async () => taskOfManifest(directory, manifest) ?? taskOfAdapter(directory, found),
    apply: async (base) => {
      const places = storedPlaces(base);
      applyLora(base.model, lora, base.family);
      await loadAdapterWeights(directory, base.model, lora);
      return { warnings: unsavedWarning(base, lora), kept: unchanged(places, lora) };
    },
  };
}

async function savedDelta(directory: string, asked: string | undefined): Promise<Saved> {
  const delta = await readDelta(directory);
  const manifest = await readManifest(directory);
  const { base_model_name_or_path: named, base_model_type: modelType } = delta.config;
  const fromConfig = named ?? undefined;
  const baseModel = findBaseModel(directory, { asked, manifest, fromConfig });
  await checkModelType(directory, baseModel, () => [modelType]);
  return {
    kind: "delta",
    directory,
    manifest,
    baseModel,
    warnings: [],
    task: async () =>
      taskOfManifest(directory, manifest) ?? taskOfDelta(directory, delta, baseModel),
    apply: async (base) => {
      const places = storedPlaces(base);
      applyDelta(base.model, delta);
      freeze(base.model);
      const parameters = base.model.namedParameters();
      const changed = new Set(delta.names.map((name) => parameters.get(name)));
      for (const parameter of changed) parameter!.requiresGrad = true;
      const kept = [...places].filter(([parameter]) => !changed.has(parameter));
      return { warnings: [], kept: new Map(kept) };
    },
  };
}

async function savedModel(directory: string, asked: string | undefined): Promise<Saved> {
  if (asked !== undefined) {
    throw new LowrankError(
      "usage",
      `${directory}: is a whole model, which needs no other one. ` +
        "Leave the base model (`model`) out.",
    );
  }
  const manifest = await readManifest(directory);
  return {
    kind: "model",
    directory,
    manifest,
    baseModel: directory,
    warnings: [],
    task: async () => {
      const file = join(directory, "config.json");
      const config = await readModelConfig(directory);
      const type = await taskOfModel(directory);
      return (
        taskOfManifest(directory, manifest) ??
        findTask(type, file).fromConfig(config, numLabels(config as never))
      );
    },
    apply: async (base) => {
      requireHead(base);
      return { warnings: [], kept: storedPlaces(base) };
    },
  };
}

/** A base model is a directory like that of a model that was trained, but its head would be random. */
function requireHead({ directory, family, newParameters }: PretrainedModel): void {
  const parts = newParameters.filter((name) => isNamedIn(name, family.headModules));
  if (parts.length === 0) return;
  throw new LowrankError(
    "checkpoint",
    `${directory}: expected a model that was trained for a task, got one without ${parts.join(", ")}. ` +
      "Pass the directory that training wrote.",
  );
}

function taskOfManifest(directory: string, manifest: Manifest | undefined): Task | undefined {
  if (!manifest) return undefined;
  const file = join(directory, MANIFEST_FILE);
  return findTask(manifest.task.name, file).restore(manifest.task.state, file);
}

/** The task of an adapter without lowrank.json: its head's size decides the number of labels. */
async function taskOfAdapter(
  directory: string,
  { config: { lora }, baseModel }: SavedAdapter,
): Promise<Task> {
  if (lora.taskType === null) {
    throw new LowrankError(
      "config",
      `${directory}: adapter_config.json names no task_type. Add it, e.g. "SEQ_CLS".`,
    );
  }
  const { file, tensors } = await openAdapter(directory);
  return taskByHead(
    `${directory}: task_type`,
    lora.taskType,
    baseModel,
    file,
    headOutputs(tensors),
  );
}

async function taskOfDelta(directory: string, delta: Delta, baseModel: string): Promise<Task> {
  const { task_type: type } = delta.config;
  if (type === null) {
    throw new LowrankError(
      "config",
      `${join(directory, DELTA_CONFIG_FILE)}: names no task_type. Add it, e.g. "SEQ_CLS".`,
    );
  }
  const { file, tensors } = delta.header;
  return taskByHead(directory, type, baseModel, file, headOutputs(tensors));
}

async function taskByHead(
  where: string,
  type: string,
  baseModel: string,
  file: string,
  outputs: number | undefined,
): Promise<Task> {
  const kind = findTask(type, where);
  const config = await readModelConfig(baseModel);
  if (kind.keepsBaseHead) return kind.fromConfig(config, 0);
  if (outputs !== undefined) return kind.fromConfig(config, outputs);
  const heads = familyOf(config, join(baseModel, "config.json")).headModules;
  throw new LowrankError(
    "checkpoint",
    `${file}: expected the weights of a head (${heads.join(", ")}), got none. Use an adapter that was trained for the task.`,
  );
}

/** @file Which families a set of module paths can belong to: an adapter's keys tell what it was trained on. */
import { withoutNumbers } from "../nn/path.ts";
import { FAMILIES, modelFromConfig } from "./auto.ts";
import type { ModelFamily, TaskType } from "./family.ts";

/** The model types that have modules at all of these paths, whatever the number of layers. */
export function modelTypesWith(paths: readonly string[]): string[] {
  return FAMILIES.filter((family) => hasModules(family, paths)).map(({ modelType }) => modelType);
}

/** Whether a family has modules at all of these paths, in its models for one task or another. */
export function hasModules(
  { modelType, models }: Pick<ModelFamily, "modelType" | "models">,
  paths: readonly string[],
): boolean {
  const known = new Set<string>();
  for (const task of Object.keys(models) as TaskType[]) {
    // In default sizes: modules hold no values yet.
    const { model } = modelFromConfig({ model_type: modelType }, task);
    for (const [path] of model.namedModules()) known.add(withoutNumbers(path));
  }
  return paths.every((path) => known.has(withoutNumbers(path)));
}

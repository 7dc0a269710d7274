/** @file Values by parameter name, as PyTorch's state_dict. */
import { LowrankError } from "../errors.ts";
import { matchTensors } from "../io/checkpoint.ts";
import type { TensorInfo } from "../io/safetensors.ts";
import { fromFile } from "./init.ts";
import type { Module } from "./module.ts";

export interface LoadStateDictOptions {
  /** What the error message calls the source. */
  readonly where: string;
  /** Every parameter must be there. Default true. */
  readonly strict?: boolean;
}

/** Point a module's parameters at stored tensors of the same names (the header of a safetensors file,
 * or a checkpoint). Throws one LowrankError("checkpoint") that lists all missing, mis-shaped and
 * unexpected ones. */
export function loadStateDict(
  module: Module,
  source: { readonly tensors: Map<string, TensorInfo> },
  { where, strict = true }: LoadStateDictOptions,
): void {
  const parameters = module.namedParameters();
  const wanted = [...parameters].filter(([name]) => strict || source.tensors.has(name));
  const { tensors, unexpected } = matchTensors(
    wanted.map(([name, { shape }]) => ({ name, shape })),
    source,
    { where },
  );
  if (unexpected.length > 0) {
    throw new LowrankError(
      "checkpoint",
      `${where}: the module has no parameters named ${unexpected.slice(0, 20).join(", ")}.`,
    );
  }
  for (const [name, info] of tensors) parameters.get(name)!.values = fromFile(info);
}

/** @file Values by parameter name, as PyTorch's state_dict. */
import { LowrankError } from "../errors.ts";
import { matchTensors } from "../io/checkpoint.ts";
import { writeSafetensors, type TensorInfo } from "../io/safetensors.ts";
import { parameterValues } from "./bind.ts";
import { fromFile } from "./init.ts";
import type { Module } from "./module.ts";
import type { Parameter } from "./parameter.ts";

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

export interface SaveStateDictOptions {
  /** Seed of parameters that are still to be initialised at random. Default 0. */
  readonly seed?: number;
  /** Which parameters; default all. */
  readonly filter?: (name: string, parameter: Parameter) => boolean;
}

/** Write a module's parameters to a safetensors file, under their paths. Values that an engine has
 * trained must be copied back first (Stepper.synchronize). Throws LowrankError("io"). */
export async function saveStateDict(
  module: Module,
  file: string,
  { seed = 0, filter = () => true }: SaveStateDictOptions = {},
): Promise<void> {
  const tensors = [];
  for (const [name, parameter] of module.namedParameters()) {
    if (!filter(name, parameter)) continue;
    const data = await parameterValues(name, parameter, seed);
    tensors.push({ name, dtype: "F32" as const, shape: parameter.shape, data });
  }
  await writeSafetensors(file, tensors, { format: "pt" });
}

/** @file How a model is trained, and what is stored of it: LoRA's adapter (lora.ts), or changed weights (full.ts). The rest of
 * training knows neither. */
import type { TrainedKind } from "../../delta/source.ts";
import type { ParameterRule } from "../../lora/lora-plus.ts";
import type { Parameter } from "../../nn/parameter.ts";

/** Reads a parameter's current values, by its path. */
export type ReadValues = (path: string) => Promise<Float32Array>;

/** A method, applied to a model: what it trains requires gradients. */
export interface Method {
  readonly saves: TrainedKind;
  /** For the card: "A LoRA adapter". */
  readonly title: string;
  /** For the card: how others load the weights. */
  readonly usage: string;
  readonly tags: readonly string[];
  /** Of the files with weights. */
  readonly storedBytes: number;
  /** What the user should know before training. */
  readonly warnings: readonly string[];
  /** Other learning rates, or no weight decay, for some parameters. */
  readonly rules?: ReadonlyMap<Parameter, ParameterRule>;
  /** Write the weights, and what describes them, into a directory that will be `target`. Throws LowrankError "training" when values
   * are no numbers, "io" when the disk refuses. */
  save(directory: string, target: string, values: ReadValues): Promise<void>;
}

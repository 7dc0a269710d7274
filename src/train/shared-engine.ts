/** @file An engine that several models use: weights that they read from the same place of the same file are in it once. What an
 * adapter brings is under names of its own for each model. */
import type { LoraConfig } from "../lora/config.ts";
import { isFromWeight } from "../lora/initial.ts";
import type { PretrainedModel } from "../models/auto.ts";
import { parameterValues } from "../nn/bind.ts";
import type { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { Engine } from "../runtime/engine.ts";
import type { EngineOptions } from "../runtime/protocol.ts";
import { PromiseCache } from "./promise-cache.ts";

/** Names of parameters by which models can share them. */
export type SharedNames = ReadonlyMap<Parameter, string>;

/** One model's place in a shared engine. */
export interface EngineShare {
  readonly engine: Engine;
  /** The names of all its parameters in the engine. */
  readonly names: SharedNames;
  /** Remove what it has alone; the last one's end closes the engine. */
  release(): Promise<void>;
}

export class SharedEngine {
  readonly #engine: Engine;
  /** Weights that models share, by their names. */
  readonly #shared = new PromiseCache<void>();
  #users = 0;
  /** Models that there have been. */
  #count = 0;

  private constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Throws LowrankError("runtime") when the device is not available. */
  static async start(options: Partial<EngineOptions>): Promise<SharedEngine> {
    return new SharedEngine(await Engine.start(options));
  }

  /** Give the engine the values of a model. Throws LowrankError("checkpoint") for values that are no numbers; the engine is then
   * as before, closed where nobody else uses it. */
  async add(model: Module, shared: SharedNames): Promise<EngineShare> {
    this.#users++;
    const own = `model${this.#count++}/`;
    const names = new Map<Parameter, string>();
    let isReleased = false;
    const release = async (): Promise<void> => {
      if (isReleased) return;
      isReleased = true;
      if (--this.#users === 0) return this.#engine.close();
      await this.#engine.remove([...names.values()].filter((name) => name.startsWith(own)));
    };
    try {
      for (const [path, parameter] of model.namedParameters()) {
        const name = shared.get(parameter);
        if (name === undefined) {
          await this.#put(own + path, path, parameter);
          names.set(parameter, own + path);
        } else {
          await this.#shared.get(name, () => this.#put(name, path, parameter));
          names.set(parameter, name);
        }
      }
    } catch (error) {
      await release();
      throw error;
    }
    return { engine: this.#engine, names, release };
  }

  async #put(name: string, path: string, parameter: Parameter): Promise<void> {
    const { shape, dtype } = parameter;
    await this.#engine.put(name, { dtype, shape, data: await parameterValues(path, parameter, 0) });
  }
}

/** A base's parameters before an adapter is put in, with names by which others can find them: their places in files. */
export function storedPlaces({ model, stored }: Pick<PretrainedModel, "model" | "stored">) {
  const places = new Map<Parameter, string>();
  for (const [path, parameter] of model.namedParameters()) {
    const info = stored.get(path);
    if (info) places.set(parameter, `${info.file}:${info.offset}:${info.dtype}`);
  }
  return places;
}

/** Those that still have the base's values once the adapter is loaded. */
export function unchanged(
  places: SharedNames,
  { initLoraWeights }: Pick<LoraConfig, "initLoraWeights">,
): SharedNames {
  // These adapters take a part of the base's weights away.
  if (isFromWeight(initLoraWeights)) return new Map();
  return new Map(
    [...places].filter(
      ([{ requiresGrad, isStoredWithAdapter }]) => !requiresGrad && !isStoredWithAdapter,
    ),
  );
}

/**
 * @file Several adapters on one base model: added, switched, combined, mixed within a batch. The base's weights are held once, and its
 * parameters keep their names, so that an engine that has them needs those of a new adapter only.
 * What the operations mean follows peft 0.21 (add_adapter, set_adapter, add_weighted_adapter, adapter_names).
 */
import { join } from "node:path";
import { LowrankError } from "../errors.ts";
import type { PretrainedModel } from "../models/auto.ts";
import type { Model } from "../models/family.ts";
import type { Values } from "../nn/init.ts";
import { Linear } from "../nn/layers.ts";
import { freeze, type Module } from "../nn/module.ts";
import { Parameter } from "../nn/parameter.ts";
import { joinPath, parentOf } from "../nn/path.ts";
import type { HostTensor } from "../runtime/protocol.ts";
import { loraLayer, replaceModule } from "./apply.ts";
import { combineAdapters, type CombineAdapters } from "./combine-adapters.ts";
import { loraConfig, type LoraConfig, type LoraOptions } from "./config.ts";
import { isMergeable, mergeInto } from "./host-merge.ts";
import { isFromWeight } from "./initial.ts";
import { frozen, readerOf, requireFinite, type Merge, type MergeOptions } from "./merge.ts";
import {
  ADAPTER_CONFIG_FILE,
  loadAdapterParameters,
  readAdapterConfig,
  saveAdapterParameters,
  unknownKeysWarning,
  type SaveAdapterOptions,
} from "./peft-format.ts";
import {
  ADAPTER_INDEX,
  adapterIndex,
  AdapterSlot,
  adapterSlots,
  baseModules,
  SavedModule,
  type AdapterPart,
  type Selection,
} from "./slot.ts";
import { findTargets, isSaved, modulesToSave } from "./targets.ts";
import { findTokenTargets, TiedTokens, TrainableTokens } from "./tokens.ts";

/** In a mixed batch, the name of the base model alone. */
export const BASE = "__base__";

/**
 * Adapters by name on one model:
 *
 *     const adapters = new AdapterSet(await AutoModel.fromPretrained("path/to/base"));
 *     await adapters.load("reviews", "reviews-adapter");
 *     await adapters.load("topics", "topics-adapter");
 *     adapters.activate("topics");
 *     const logits = adapters.model.forward(inputs);
 */
export class AdapterSet {
  /** The model that graphs are built of. */
  readonly model: Model;
  readonly #family: PretrainedModel["family"];
  readonly #configs = new Map<string, LoraConfig>();
  readonly #selection: Selection = { names: [], index: undefined };
  #active: readonly string[] = [];
  #merge: Merge | undefined;

  /** Takes over the model, which has no adapter yet. */
  constructor({ model, family }: Pick<PretrainedModel, "model" | "family">) {
    this.model = model;
    this.#family = family;
    freeze(model);
  }

  /** Names of all adapters, in the order in which they were added. */
  get names(): string[] {
    return [...this.#configs.keys()];
  }

  /** Names of the adapters that the next graphs use. */
  get active(): readonly string[] {
    return this.#active;
  }

  /** An adapter's configuration. Throws LowrankError("config") for an unknown name. */
  config(name: string): LoraConfig {
    const config = this.#configs.get(name);
    if (config) return config;
    throw new LowrankError(
      "config",
      `no adapter is named ${JSON.stringify(name)}. There are: ${this.names.join(", ") || "none"}.`,
    );
  }

  /** Add an adapter with initial values; the first one becomes active. Throws LowrankError("config"). */
  add(name: string, options: LoraOptions): void {
    const config = loraConfig(options, name);
    this.#checkUnmerged("add");
    this.#checkNew(name, config);
    for (const [path, part] of this.#makeParts(config)) {
      this.#slot(path).adapters.byName.set(name, part);
    }
    this.#configs.set(name, config);
    this.activate(...(this.#configs.size === 1 ? [name] : this.#active));
  }

  /** Add an adapter from its directory. Returns what the user should know of it: options of its configuration that were ignored.
   * Throws LowrankError; the set is then as before. */
  async load(name: string, directory: string): Promise<string[]> {
    const config = await readAdapterConfig(directory);
    const { lora } = config;
    this.add(name, lora);
    try {
      await loadAdapterParameters(directory, this.parameters(name), lora);
    } catch (error) {
      this.delete(name);
      throw error;
    }
    const warning = unknownKeysWarning(config, join(directory, ADAPTER_CONFIG_FILE));
    return warning === undefined ? [] : [warning];
  }

  /** Write an adapter's two files into an existing directory. */
  async save(
    name: string,
    directory: string,
    { baseModel, values }: Partial<Omit<SaveAdapterOptions, "lora">> = {},
  ): Promise<void> {
    const parameters = this.parameters(name);
    const read = readerOf(this.model)(0);
    await saveAdapterParameters(directory, this.model, parameters, {
      lora: this.config(name),
      baseModel: baseModel ?? null,
      values: values ?? ((path) => read(parameters.get(path)!)),
    });
  }

  /** Use these adapters from now on, one after the other in each layer; none: the base model alone. Their parameters are
   * trainable, the others' are not. Throws LowrankError("config") for two that replace the same module. */
  activate(...names: readonly string[]): void {
    this.#checkUnmerged("activate");
    for (const name of names) this.config(name);
    for (const [path, slot] of adapterSlots(this.model)) {
      const whole = names.filter((name) => replacesOutput(slot.adapters.byName.get(name)));
      if (whole.length > 1) {
        throw new LowrankError(
          "config",
          `activate: only one adapter can replace ${path}, got ${whole.join(", ")}. Activate one of them.`,
        );
      }
    }
    this.#active = [...names];
    this.#selection.names = this.#active;
    for (const name of this.names) {
      for (const parameter of this.parameters(name).values()) {
        parameter.requiresGrad = names.includes(name);
      }
    }
  }

  /** Use no adapter, until `activate` is called again. */
  disable(): void {
    this.activate();
  }

  /** Remove an adapter; the others stay as they are. */
  delete(name: string): void {
    this.#checkUnmerged("delete");
    this.config(name);
    for (const [, slot] of adapterSlots(this.model)) slot.adapters.byName.delete(name);
    this.#configs.delete(name);
    this.activate(...this.#active.filter((other) => other !== name));
  }

  /** What `build` makes of the model for batches of `rows` rows that have an adapter each: feed `rowAdapters`. */
  mixed<T>(rows: number, build: (model: Model) => T): T {
    this.#checkUnmerged("mixed");
    Object.assign(this.#selection, { names: this.names, index: adapterIndex(rows) });
    try {
      return build(this.model);
    } finally {
      Object.assign(this.#selection, { names: this.#active, index: undefined });
    }
  }

  /** The feed that says which adapter each row of a mixed batch has; "__base__": none. Its graph was built when the set had
   * the same adapters. */
  rowAdapters(names: readonly string[]): Record<string, HostTensor> {
    const places = names.map((name) => {
      if (name !== BASE) this.config(name);
      return this.names.indexOf(name);
    });
    const data = Int32Array.from(places);
    return { [ADAPTER_INDEX]: { dtype: "int32", shape: [names.length], data } };
  }

  /** The parameters that an adapter's file holds, by the path that they have there. */
  parameters(name: string): Map<string, Parameter> {
    const result = new Map<string, Parameter>();
    for (const [path, slot] of adapterSlots(this.model)) {
      for (const [own, parameter] of slot.adapters.byName.get(name)?.namedParameters() ?? []) {
        if (!/^(?:token_adapter\.)?base_layer\./.test(own)) result.set(`${path}.${own}`, parameter);
      }
    }
    return result;
  }

  /** A filter for `loadParameters`: the adapter's parameters alone, for an engine that has the base's. */
  belongsTo(name: string): (path: string, parameter: Parameter) => boolean {
    const own = new Set(this.parameters(name).values());
    return (_, parameter) => own.has(parameter);
  }

  /** Merge the active adapters into the weights of the base (see mergeAdapter), modules that are stored whole excepted.
   * Nothing else can be done with the set until `unmerge`. */
  merge({ read: given, safe = false }: MergeOptions = {}): Merge {
    this.#checkUnmerged("merge");
    const reader = readerOf(this.model);
    const undo: (() => void)[] = [];
    const changed: string[] = [];
    for (const [path, slot] of adapterSlots(this.model)) {
      const parts = this.#active
        .map((name) => slot.adapters.byName.get(name))
        .filter((part) => part !== undefined)
        .filter(isMergeable);
      if (parts.length === 0) continue;
      const base = slot.base_layer as Linear;
      const original = base.weight;
      const name = `${path}.weight`;
      const merged: Values = async ({ seed }) => {
        const read = given ?? reader(seed);
        const values = await read(original);
        for (const part of parts) await mergeInto(values, part, read);
        return safe ? requireFinite(name, values) : values;
      };
      base.weight = frozen(original, merged);
      slot.merged = true;
      changed.push(name);
      undo.push(() => {
        base.weight = original;
        slot.merged = false;
      });
    }
    const unmerge = (): void => {
      undo.splice(0).forEach((step) => step());
      this.#merge = undefined;
    };
    this.#merge = { changed, unmerge };
    return this.#merge;
  }

  /** Add an adapter that is a combination of others (combine-adapters.ts). Throws LowrankError("config") for those that
   * cannot be combined. */
  combine(name: string, options: CombineAdapters): Promise<void> {
    return combineAdapters(this, name, options);
  }

  #makeParts(config: LoraConfig): Map<string, AdapterPart> {
    const modules = [...baseModules(this.model)];
    const saved = modulesToSave(config);
    const parts = new Map<string, AdapterPart>();
    for (const [path, base] of findTargets(this.model, config, this.#family)) {
      parts.set(path, loraLayer(base, config, path));
    }
    for (const { path, base, tokens, tied } of findTokenTargets(modules, config)) {
      const adapter = new TrainableTokens(base, tokens);
      parts.set(path, adapter);
      for (const [other, head] of modules) {
        if (tied.includes(other) && head instanceof Linear) {
          parts.set(other, new TiedTokens(head, adapter));
        }
      }
    }
    for (const [path, module] of modules) {
      if (path !== "" && isSaved(path, saved) && !isSaved(parentOf(path), saved)) {
        parts.set(path, new SavedModule(module, ownCopies(module, path)));
      }
    }
    return parts;
  }

  /** The slot at a path, made where there is none. */
  #slot(path: string): AdapterSlot {
    for (const [own, slot] of adapterSlots(this.model)) if (own === path) return slot;
    const slot = new AdapterSlot(this.model.getModule(path), this.#selection);
    replaceModule(this.model, path, slot);
    return slot;
  }

  #checkNew(name: string, config: LoraConfig): void {
    const problem =
      name === BASE || name === "" || name.includes(".")
        ? "is not a name for an adapter. Choose another one"
        : this.#configs.has(name)
          ? "exists already. Delete it first, or choose another name"
          : config.bias !== "none"
            ? "trains biases of the base, which adapters share. Load it alone"
            : isFromWeight(config.initLoraWeights)
              ? `starts from the base's weights (${config.initLoraWeights}) and changes them. Convert it to a plain LoRA first`
              : undefined;
    if (problem) throw new LowrankError("config", `${JSON.stringify(name)} ${problem}.`);
  }

  #checkUnmerged(what: string): void {
    if (!this.#merge) return;
    throw new LowrankError("usage", `${what}: the active adapters are merged. Call unmerge first.`);
  }
}

/** A module's parameters once more, by their path in it, with the same values. */
function ownCopies(module: Module, path: string): Map<string, Parameter> {
  const copies = new Map<string, Parameter>();
  for (const [inner, part] of baseModules(module)) {
    for (const [own, { shape, values }] of part.ownParameters()) {
      const name = joinPath(inner, own);
      copies.set(
        name,
        new Parameter(shape, (context) => values({ ...context, name: `${path}.${name}` })),
      );
    }
  }
  return copies;
}

/** Whether a part's output does not contain that of others. */
function replacesOutput(part: AdapterPart | undefined): boolean {
  return (
    part instanceof SavedModule || part instanceof TrainableTokens || part instanceof TiedTokens
  );
}

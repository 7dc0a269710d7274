/** @file A place of the model that several adapters change, each in its own way: which of them do, for a whole batch or for each
 * row, is selected before a graph is built. One adapter alone needs none of this (apply.ts). */
import { LowrankError } from "../errors.ts";
import { input } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import { Module } from "../nn/module.ts";
import type { Parameter } from "../nn/parameter.ts";
import { joinPath } from "../nn/path.ts";
import { equal, where } from "../ops/elementwise.ts";
import { reshape } from "../ops/movement.ts";

/** What one adapter does in one place: LoraLinear, LoraEmbedding, TrainableTokens, SavedModule. */
export interface AdapterPart extends Module {
  /** The output for x, from the output y that the base or another adapter gave. */
  apply(x: Tensor, y: Tensor): Tensor;
}

/** Which adapters the next graphs use. Shared by all slots of a model. */
export interface Selection {
  /** Applied one after the other to the whole batch; in a mixed batch, those that a row may name. */
  names: readonly string[];
  /** In a mixed batch, the place of each row's adapter in `names`, or -1: int32 [rows]. */
  index: Tensor | undefined;
}

/** Name of that input. */
export const ADAPTER_INDEX = "adapter_index";

export const adapterIndex = (rows: number): Tensor => input(ADAPTER_INDEX, "int32", [rows]);

/** Parts by the adapter's name. */
class Parts extends Module {
  readonly byName = new Map<string, AdapterPart>();

  override children(): [string, Module][] {
    return [...this.byName];
  }

  forward(): never {
    throw new LowrankError("graph", "Parts: has no forward of its own; the slot applies them.");
  }
}

/** Holds a module of the base and what adapters do to it. The base's parameters keep their names; an adapter's are below
 * `adapters.<name>`. */
export class AdapterSlot extends Module {
  readonly #selection: Selection;
  base_layer: Module;
  adapters = new Parts();
  /** The base's weight holds the selected adapters already. */
  merged = false;

  constructor(base: Module, selection: Selection) {
    super();
    this.base_layer = base;
    this.#selection = selection;
  }

  override *namedModules(prefix = ""): Generator<[path: string, module: Module]> {
    yield [prefix, this];
    yield* this.base_layer.namedModules(prefix);
    yield* this.adapters.namedModules(prefix === "" ? "adapters" : `${prefix}.adapters`);
  }

  override setChild(name: string, module: Module): void {
    this.base_layer.setChild(name, module);
  }

  /** For models that read rows of an embedding themselves. */
  get weight(): Tensor {
    const { names, index } = this.#selection;
    let weight = (this.base_layer as unknown as { weight: Tensor }).weight;
    if (this.merged) return weight;
    if (index && names.some((name) => this.adapters.byName.has(name))) {
      throw new LowrankError(
        "graph",
        "a mixed batch: an adapted embedding is read without token ids. Give the model all of its inputs.",
      );
    }
    for (const name of names) weight = mergedWeightOf(this.adapters.byName.get(name), weight);
    return weight;
  }

  forward(x: Tensor, ...others: unknown[]): Tensor {
    let y = this.base_layer.forward(x, ...others) as Tensor;
    if (this.merged) return y;
    const { names, index } = this.#selection;
    for (const [place, name] of names.entries()) {
      const part = this.adapters.byName.get(name);
      if (!part) continue;
      const applied = part.apply(x, y);
      y = index ? where(isRowOf(place, index, applied), applied, y) : applied;
    }
    return y;
  }
}

/** Which rows have the adapter at a place: bool [rows, 1, …], of as many axes as `y`. */
function isRowOf(place: number, index: Tensor, y: Tensor): Tensor {
  return equal(reshape(index, [-1, ...y.shape.slice(1).map(() => 1)]), place);
}

function mergedWeightOf(part: AdapterPart | undefined, weight: Tensor): Tensor {
  if (!part) return weight;
  if (part instanceof SavedModule) return part.parameter("weight") ?? weight;
  return (part as unknown as { mergedWeight(weight: Tensor): Tensor }).mergedWeight(weight);
}

/** The modules of the base alone, with their paths: slots stand for what they hold. */
export function* baseModules(module: Module, path = ""): Generator<[path: string, module: Module]> {
  const base = module instanceof AdapterSlot ? module.base_layer : module;
  yield [path, base];
  for (const [name, child] of base.children()) {
    yield* baseModules(child, joinPath(path, name));
  }
}

/** A module that an adapter stores whole: the base's module with other parameters. */
export class SavedModule extends Module implements AdapterPart {
  readonly #module: Module;
  /** By path within the module. */
  readonly #parameters: ReadonlyMap<string, Parameter>;

  constructor(module: Module, parameters: ReadonlyMap<string, Parameter>) {
    super();
    this.#module = module;
    this.#parameters = parameters;
  }

  override ownParameters(): [string, Parameter][] {
    return [...this.#parameters];
  }

  parameter(path: string): Parameter | undefined {
    return this.#parameters.get(path);
  }

  forward(x: Tensor): Tensor {
    return this.apply(x);
  }

  /** The module's forward pass while its fields hold the other parameters. */
  apply(x: Tensor): Tensor {
    const fields: { holder: Record<string, unknown>; name: string; own: unknown }[] = [];
    for (const [path, part] of baseModules(this.#module)) {
      for (const [name, own] of part.ownParameters()) {
        const holder = part as unknown as Record<string, unknown>;
        fields.push({ holder, name, own });
        holder[name] = this.#parameters.get(joinPath(path, name)) ?? own;
      }
    }
    try {
      return this.#module.forward(x) as Tensor;
    } finally {
      for (const { holder, name, own } of fields) holder[name] = own;
    }
  }
}

/** The slots of a model by path. */
export function* adapterSlots(model: Module): Generator<[path: string, slot: AdapterSlot]> {
  for (const [path, module] of model.namedModules()) {
    if (module instanceof AdapterSlot) yield [path, module];
  }
}

/** @file Module: a tree of named parts with parameters, as in PyTorch. Fields that hold modules and
 * parameters are the parts; their names are the keys of checkpoints. */
import { LowrankError } from "../errors.ts";
import { sizeOf } from "../graph/shape.ts";
import type { Tensor } from "../graph/node.ts";
import { Parameter } from "./parameter.ts";
import { joinPath } from "./path.ts";

/** A part of a model: its fields are parameters, and modules with parameters of their own; a field's path is its key in a
 * checkpoint. `forward` builds a graph and computes nothing. Prints as in PyTorch. */
export abstract class Module {
  /** Whether dropout is active; set by `train` and `eval`. */
  training = false;
  /** Path in the tree that was last put into training mode; names the place of random numbers. */
  path = "";
  #printedAs?: string;

  abstract forward(...inputs: any[]): unknown;

  /** Direct parts, in the order in which the fields were assigned. */
  children(): [name: string, module: Module][] {
    return Object.entries(this).filter(
      (entry): entry is [string, Module] => entry[1] instanceof Module,
    );
  }

  /** Parameters of this module itself. */
  ownParameters(): [name: string, parameter: Parameter][] {
    return Object.entries(this).filter(
      (entry): entry is [string, Parameter] => entry[1] instanceof Parameter,
    );
  }

  /** A direct part. Throws LowrankError("config") when there is none of that name. */
  getChild(name: string): Module {
    const child = this.children().find(([own]) => own === name)?.[1];
    if (child) return child;
    throw new LowrankError("config", `${this.typeName()} has no part "${name}".`);
  }

  /** Replace or add a direct part. */
  setChild(name: string, module: Module): void {
    (this as unknown as Record<string, Module>)[name] = module;
  }

  /** The name that the printed form begins with. */
  typeName(): string {
    return this.#printedAs ?? this.constructor.name;
  }

  /** Print this module under another name: that of the class it is in transformers. */
  printedAs(name: string): this {
    this.#printedAs = name;
    return this;
  }

  /** What stands in the parentheses of the printed form. */
  extraRepr(): string {
    return "";
  }

  /** This module and all below it, depth first, with their paths ("" for itself). */
  *namedModules(prefix = ""): Generator<[path: string, module: Module]> {
    yield [prefix, this];
    for (const [name, child] of this.children()) {
      yield* child.namedModules(joinPath(prefix, name));
    }
  }

  /** All parameters by path, e.g. "transformer.h.0.attn.c_attn.weight". A parameter that two modules
   * share appears once, under its first path. */
  namedParameters(): Map<string, Parameter> {
    const result = new Map<string, Parameter>();
    const seen = new Set<Parameter>();
    for (const [path, module] of this.namedModules()) {
      for (const [name, parameter] of module.ownParameters()) {
        if (seen.has(parameter)) continue;
        seen.add(parameter);
        result.set(joinPath(path, name), parameter);
      }
    }
    return result;
  }

  /** Set training mode: dropout is active in the graphs built afterwards. */
  train(mode = true): this {
    for (const [path, module] of this.namedModules()) {
      module.training = mode;
      module.path = path;
    }
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** The module at a path; throws when there is none. */
  getModule(path: string): Module {
    for (const [name, module] of this.namedModules()) if (name === path) return module;
    throw new LowrankError("config", `the model has no module "${path}".`);
  }

  /** The printed tree, as PyTorch prints it. */
  toString(): string {
    return printModule(this);
  }
}

/** A module from one tensor to one tensor: what may stand where a linear layer stands. */
export interface Layer extends Module {
  forward(x: Tensor): Tensor;
}

function printModule(module: Module): string {
  const parts = repeatedParts(module).map(([name, text]) => `(${name}): ${indent(text)}`);
  const name = module.typeName();
  if (parts.length === 0) return `${name}(${module.extraRepr()})`;
  return `${name}(\n${parts.map((line) => `  ${line}\n`).join("")})`;
}

/** Printed children; in a ModuleList, equal neighbours become one line "(0-11): 12 x Block(...)". */
function repeatedParts(module: Module): [string, string][] {
  const parts = module.children().map(([name, child]): [string, string] => [name, String(child)]);
  if (!(module instanceof ModuleList)) return parts;
  const result: [string, string][] = [];
  for (let start = 0; start < parts.length;) {
    let end = start + 1;
    while (end < parts.length && parts[end]![1] === parts[start]![1]) end++;
    const [name, text] = parts[start]!;
    if (end - start === 1) result.push([name, text]);
    else result.push([`${start}-${end - 1}`, `${end - start} x ${text}`]);
    start = end;
  }
  return result;
}

function indent(text: string): string {
  return text.replaceAll("\n", "\n  ");
}

/** Modules by number. */
export class ModuleList<M extends Module = Module> extends Module {
  readonly items: M[];

  constructor(items: readonly M[]) {
    super();
    this.items = [...items];
  }

  override children(): [string, Module][] {
    return this.items.map((module, index) => [String(index), module]);
  }

  override setChild(name: string, module: Module): void {
    this.items[Number(name)] = module as M;
  }

  [Symbol.iterator](): Iterator<M> {
    return this.items[Symbol.iterator]();
  }

  forward(): never {
    throw new LowrankError("graph", "ModuleList: has no forward of its own; call its items.");
  }
}

/** Modules applied one after the other. */
export class Sequential extends Module {
  readonly layers: Layer[];

  constructor(...layers: Layer[]) {
    super();
    this.layers = layers;
  }

  override children(): [string, Module][] {
    return this.layers.map((module, index) => [String(index), module]);
  }

  override setChild(name: string, module: Module): void {
    this.layers[Number(name)] = module as Layer;
  }

  forward(x: Tensor): Tensor {
    return this.layers.reduce<Tensor>((value, layer) => layer.forward(value), x);
  }
}

/** Number of scalars in a module's parameters; with `trainable`, of those that training changes. */
export function countParameters(module: Module, options: { trainable?: boolean } = {}): number {
  let count = 0;
  for (const parameter of module.namedParameters().values()) {
    if (options.trainable === undefined || parameter.requiresGrad === options.trainable) {
      count += sizeOf(parameter.shape);
    }
  }
  return count;
}

/**
 * Keep the values of a module's own parameters when its path changes from `path` to another: values that
 * are initialised at random depend on the path.
 */
export function keepValues(module: Module, path: string): void {
  for (const [key, parameter] of module.ownParameters()) {
    const { values } = parameter;
    const name = joinPath(path, key);
    parameter.values = (context) => values({ ...context, name });
  }
}

/** Exclude all parameters of a module from training. */
export function freeze(module: Module): void {
  for (const parameter of module.namedParameters().values()) parameter.requiresGrad = false;
}

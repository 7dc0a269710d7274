/** @file Training a few rows of an embedding: each listed token has a row of its own that replaces the table's. Keys of the file
 * are PEFT's, `….embed_tokens.token_adapter.trainable_tokens_delta`. Source: peft 0.21, TrainableTokensLayer. */
import { LowrankError } from "../errors.ts";
import { constant } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import type { Values } from "../nn/init.ts";
import { Embedding, Linear } from "../nn/layers.ts";
import { Module } from "../nn/module.ts";
import { Parameter } from "../nn/parameter.ts";
import { equal, where } from "../ops/elementwise.ts";
import { linear } from "../ops/functional.ts";
import { gather } from "../ops/indexing.ts";
import { reshape } from "../ops/movement.ts";
import type { LoraConfig } from "./config.ts";
import { isSavedModule, modulesToSave } from "./targets.ts";

/** A table whose rows at some tokens are replaced by `trainable_tokens_delta`, of shape [n, dim]. The table is that of an
 * embedding or of an output projection. */
export class TokenAdapter extends Module {
  readonly tokens: readonly number[];
  base_layer: Embedding | Linear;
  trainable_tokens_delta: Parameter;
  /** 1 for each token that is replaced, and its row among the replacements: int32 [vocabulary] */
  readonly #replaced: Tensor;
  readonly #rows: Tensor;

  constructor(base: Embedding | Linear, tokens: readonly number[]) {
    super();
    this.tokens = tokens;
    this.base_layer = base;
    const [vocabulary, width] = base.weight.shape as [number, number];
    this.trainable_tokens_delta = new Parameter([tokens.length, width], rowsOf(base, tokens));
    const [replaced, rows] = [new Int32Array(vocabulary), new Int32Array(vocabulary)];
    for (const [row, token] of tokens.entries()) {
      replaced[token] = 1;
      rows[token] = row;
    }
    this.#replaced = constant("int32", [vocabulary], replaced);
    this.#rows = constant("int32", [vocabulary], rows);
  }

  forward(x: Tensor): Tensor {
    return this.apply(x, this.base_layer.forward(x));
  }

  /** What becomes of the base's output y for x: token ids of an embedding, hidden states of a projection. */
  apply(x: Tensor, y: Tensor): Tensor {
    if (this.base_layer instanceof Linear) {
      return linear(x, this.mergedWeight(), this.base_layer.bias);
    }
    const isReplaced = equal(reshape(gather(this.#replaced, x), [...x.shape, 1]), 1);
    const rows = gather(this.trainable_tokens_delta, gather(this.#rows, x), {
      paddingIdx: this.#paddingRow(this.base_layer),
    });
    return where(isReplaced, rows, y);
  }

  /** The replacement of the embedding's padding row, which is not trained either. */
  #paddingRow({ paddingIdx }: Embedding): number | undefined {
    const row = paddingIdx === undefined ? -1 : this.tokens.indexOf(paddingIdx);
    return row === -1 ? undefined : row;
  }

  /** A weight with the rows replaced; default: the base's own. */
  mergedWeight(weight: Tensor = this.base_layer.weight): Tensor {
    const isReplaced = equal(reshape(this.#replaced, [-1, 1]), 1);
    return where(isReplaced, gather(this.trainable_tokens_delta, this.#rows), weight);
  }
}

/** Initial replacements: what they replace. */
function rowsOf({ weight }: Embedding | Linear, tokens: readonly number[]): Values {
  const { values, shape } = weight;
  return async (context) => {
    const table = await values({ ...context, shape });
    const width = shape[1]!;
    const result = new Float32Array(tokens.length * width);
    for (const [row, token] of tokens.entries()) {
      result.set(table.subarray(token * width, (token + 1) * width), row * width);
    }
    return result;
  };
}

/** Stands where the embedding, or the projection, stood. */
export class TrainableTokens extends Module {
  token_adapter: TokenAdapter;

  constructor(base: Embedding | Linear, tokens: readonly number[]) {
    super();
    this.token_adapter = new TokenAdapter(base, tokens);
  }

  get adapter(): TokenAdapter {
    return this.token_adapter;
  }

  get base_layer(): Embedding | Linear {
    return this.token_adapter.base_layer;
  }

  /** For models that read rows of the table themselves. */
  get weight(): Tensor {
    return this.mergedWeight();
  }

  forward(x: Tensor): Tensor {
    return this.token_adapter.forward(x);
  }

  apply(x: Tensor, y: Tensor): Tensor {
    return this.token_adapter.apply(x, y);
  }

  mergedWeight(weight?: Tensor): Tensor {
    return this.token_adapter.mergedWeight(weight);
  }
}

/** An output projection that shares the embedding's weight: the embedding's replacements are its own as well. */
export class TiedTokens extends Module {
  base_layer: Linear;
  readonly #source: TrainableTokens;

  constructor(base: Linear, source: TrainableTokens) {
    super();
    this.base_layer = base;
    this.#source = source;
  }

  /** The embedding's. */
  get adapter(): TokenAdapter {
    return this.#source.adapter;
  }

  forward(x: Tensor): Tensor {
    return this.apply(x);
  }

  apply(x: Tensor): Tensor {
    return linear(x, this.mergedWeight(), this.base_layer.bias);
  }

  mergedWeight(weight?: Tensor): Tensor {
    return this.#source.mergedWeight(weight);
  }
}

/** Where tokens are trained, and which. */
export interface TokenTarget {
  readonly path: string;
  readonly base: Embedding | Linear;
  readonly tokens: readonly number[];
  /** Paths of projections that share the embedding's weight, and with it the replaced rows. */
  readonly tied: readonly string[];
}

/** The modules that trainableTokenIndices means. Throws one LowrankError("config") that lists every problem. */
export function findTokenTargets(
  modules: readonly (readonly [path: string, module: Module])[],
  config: LoraConfig,
): TokenTarget[] {
  const { trainableTokenIndices: wanted } = config;
  if (wanted === null) return [];
  const tables = modules.filter(
    (entry): entry is [string, Embedding | Linear] =>
      entry[1] instanceof Embedding || entry[1] instanceof Linear,
  );
  const inputTable = tables.find(([, module]) => module instanceof Embedding)?.[0] ?? "";
  const named = Array.isArray(wanted) ? { [inputTable]: wanted } : wanted;
  const problems: string[] = [];
  const targets = Object.entries(named).flatMap(([name, tokens]) => {
    const found = tables.filter(([path]) => path.endsWith(name));
    if (found.length === 0) problems.push(`no embedding is named ${JSON.stringify(name)}`);
    return found.map(([path, base]) => {
      problems.push(...problemsOf(path, base, tokens, config));
      return { path, base, tokens, tied: [] as string[] };
    });
  });
  problems.push(...tie(targets, tables, config));
  if (problems.length === 0) return targets;
  throw new LowrankError("config", `trainableTokenIndices: ${problems.join("; ")}.`);
}

function problemsOf(
  path: string,
  { weight }: Embedding | Linear,
  tokens: readonly number[],
  config: LoraConfig,
): string[] {
  const vocabulary = weight.shape[0]!;
  const beyond = tokens.filter((token) => token >= vocabulary);
  const problems: string[] = [];
  if (beyond.length > 0)
    problems.push(`${path} has ${vocabulary} rows, got index ${beyond.slice(0, 5).join(", ")}`);
  if (new Set(tokens).size < tokens.length) problems.push(`${path}: an index is listed twice`);
  if (isSavedModule(path, modulesToSave(config)))
    problems.push(`${path} is trained whole by modulesToSave; name it in one of the two`);
  return problems;
}

/** Targets that share a weight and list the same tokens become one; a target takes along what shares its weight. */
function tie(
  targets: { path: string; base: Embedding | Linear; tokens: readonly number[]; tied: string[] }[],
  tables: readonly (readonly [string, Embedding | Linear])[],
  { ensureWeightTying }: LoraConfig,
): string[] {
  for (const target of targets.slice()) {
    if (!(target.base instanceof Embedding) || !targets.includes(target)) continue;
    const sharing = tables.filter(
      ([path, { weight }]) => weight === target.base.weight && path !== target.path,
    );
    const same = (other: { tokens: readonly number[] }): boolean =>
      other.tokens.join() === target.tokens.join();
    const others = targets.filter(({ path }) => sharing.some(([shared]) => shared === path));
    if (others.every(same)) {
      for (const other of others) targets.splice(targets.indexOf(other), 1);
      target.tied.push(...sharing.map(([path]) => path));
    } else if (ensureWeightTying) {
      const lists = [target, ...others].map(({ path, tokens }) => `${path} [${tokens.join(", ")}]`);
      return [
        `ensureWeightTying: modules that share a weight list other tokens: ${lists.join(", ")}`,
      ];
    }
  }
  return [];
}

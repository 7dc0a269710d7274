/**
 * @file A Hugging Face model directory as one set of tensors: which files belong to it, and which stored tensor serves each
 * wanted one. All problems are collected and raised in one error. The files themselves are read by safetensors.ts.
 * Source of the layout: https://huggingface.co/docs/safetensors/index, transformers' `SAFE_WEIGHTS_INDEX_NAME`
 */
import { readdir } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { LowrankError } from "../errors.ts";
import { readJson } from "./files.ts";
import { ioError } from "./io-errors.ts";
import { readHeader, type SafetensorsHeader, type TensorInfo } from "./safetensors.ts";

/** The tensors of a model directory, by the name that they are stored under. */
export interface Checkpoint {
  readonly directory: string;
  readonly tensors: Map<string, TensorInfo>;
}

/** A tensor that a model needs. */
export interface WantedTensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** What `matchTensors` found: wanted name → where it is stored, and stored names that nothing asked for. */
export interface TensorMatch {
  readonly tensors: Map<string, TensorInfo>;
  readonly unexpected: string[];
}

const SINGLE_FILE = "model.safetensors";
const INDEX_FILE = "model.safetensors.index.json";
const ADAPTER_FILE = "adapter_model.safetensors";

/** Longest list of problems of one kind in an error message. */
const MAX_LISTED = 20;

/** Opens a model directory: `model.safetensors`, else `model.safetensors.index.json` with its shards, else the only
 * `*.safetensors` file there is. Reads headers only. Stored tensors that an index does not map are ignored.
 * Errors: LowrankError "checkpoint" with every problem of every file, "io" when the system refuses to read. */
export async function openCheckpoint(directory: string): Promise<Checkpoint> {
  const names = await listDirectory(directory);
  if (names.includes(SINGLE_FILE)) return openSingle(directory, SINGLE_FILE);
  if (names.includes(INDEX_FILE)) return openSharded(directory);
  const candidates = names.filter(
    (name) => name.endsWith(".safetensors") && name !== ADAPTER_FILE && !name.startsWith("."),
  );
  const [only] = candidates;
  if (only !== undefined && candidates.length === 1) return openSingle(directory, only);
  throw new LowrankError("checkpoint", `${directory}: ${whyNoWeights(names, candidates)}`);
}

async function listDirectory(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    throw ioError(directory, "read the model directory", error);
  }
}

function whyNoWeights(names: readonly string[], candidates: readonly string[]): string {
  if (candidates.length > 1) {
    return (
      `expected ${SINGLE_FILE}, ${INDEX_FILE} or exactly one *.safetensors file, got ` +
      `${listed(candidates)}. Keep one of them, or add the index.`
    );
  }
  const legacy = names.filter((name) =>
    /^(pytorch_model.*\.bin|.*\.bin\.index\.json|.*\.(pt|pth|ckpt)|tf_model\.h5|flax_model\.msgpack)$/.test(
      name,
    ),
  );
  if (legacy.length > 0) {
    return (
      `expected weights in safetensors format, got ${listed(legacy)}. Convert them to safetensors ` +
      "(in Python: AutoModel.from_pretrained(directory).save_pretrained(directory)) or download a safetensors version."
    );
  }
  if (names.includes(ADAPTER_FILE)) {
    return `expected a model, got an adapter (${ADAPTER_FILE}). Pass the adapter's base model here.`;
  }
  return `expected ${SINGLE_FILE} or ${INDEX_FILE}, got no weights. Check the path, or download the weights.`;
}

async function openSingle(directory: string, name: string): Promise<Checkpoint> {
  const { tensors } = await readHeader(join(directory, name));
  return { directory, tensors };
}

async function openSharded(directory: string): Promise<Checkpoint> {
  const index = join(directory, INDEX_FILE);
  const weightMap = readWeightMap(index, await readJson(index, "checkpoint index", "checkpoint"));
  const problems: string[] = [];
  const shards = new Map<string, SafetensorsHeader>();
  for (const shard of new Set(weightMap.values())) {
    if (!isInside(shard)) {
      problems.push(`shard ${JSON.stringify(shard)} is outside of the model directory.`);
      continue;
    }
    try {
      shards.set(shard, await readHeader(join(directory, shard)));
    } catch (error) {
      if (!(error instanceof LowrankError)) throw error;
      problems.push(error.message);
    }
  }
  const tensors = new Map<string, TensorInfo>();
  const absent: string[] = [];
  for (const [name, shard] of weightMap) {
    const info = shards.get(shard)?.tensors.get(name);
    if (info) tensors.set(name, info);
    else if (shards.has(shard)) absent.push(`${name} is not in ${shard}, where the index puts it.`);
  }
  problems.push(...capped(absent));
  if (problems.length > 0) {
    throw new LowrankError(
      "checkpoint",
      `${index}: every tensor is in the shard that the index names, got:\n${indented(problems)}\n` +
        "Download the missing or damaged files again.",
    );
  }
  return { directory, tensors };
}

function readWeightMap(index: string, contents: unknown): Map<string, string> {
  const weightMap =
    typeof contents === "object" && contents !== null && "weight_map" in contents
      ? contents.weight_map
      : undefined;
  if (typeof weightMap !== "object" || weightMap === null || Array.isArray(weightMap)) {
    throw new LowrankError(
      "checkpoint",
      `${index}: expected an object "weight_map" from tensor names to files, got none. Download the index again.`,
    );
  }
  const entries = Object.entries(weightMap) as [string, unknown][];
  const wrong = entries.filter(([, shard]) => typeof shard !== "string" || shard === "");
  if (wrong.length > 0) {
    throw new LowrankError(
      "checkpoint",
      `${index}: weight_map names a file for each tensor, got something else for ` +
        `${listed(wrong.map(([name]) => name))}. Download the index again.`,
    );
  }
  return new Map(entries as [string, string][]);
}

/** Whether a shard's name stays in the directory: an index from the network must not read other files. */
function isInside(shard: string): boolean {
  return !isAbsolute(shard) && !/^[a-zA-Z]:|\0/.test(shard) && !shard.split(/[\\/]/).includes("..");
}

/** Finds the stored tensor of each wanted one. `where` opens the error message (the model's name or directory).
 * `resolve` gives the stored name of a wanted tensor where it differs; undefined means that it is stored under its own name.
 * Errors: one LowrankError "checkpoint" that lists all missing and all mis-shaped tensors. */
export function matchTensors(
  wanted: readonly WantedTensor[],
  checkpoint: Pick<Checkpoint, "tensors">,
  options: {
    readonly where: string;
    readonly resolve?: (name: string) => string | undefined;
  },
): TensorMatch {
  const tensors = new Map<string, TensorInfo>();
  const used = new Set<string>();
  const missing: string[] = [];
  const misshaped: string[] = [];
  for (const { name, shape } of wanted) {
    const storedName = options.resolve?.(name) ?? name;
    const label = storedName === name ? name : `${name} (stored as ${storedName})`;
    const info = checkpoint.tensors.get(storedName);
    used.add(storedName);
    if (!info) missing.push(label);
    else if (!sameShape(info.shape, shape)) {
      misshaped.push(`${label}: expected [${shape.join(", ")}], got [${info.shape.join(", ")}]`);
    } else tensors.set(name, info);
  }
  const unexpected = [...checkpoint.tensors.keys()].filter((name) => !used.has(name));
  const sections = [
    ...section("missing", missing),
    ...section("of another shape", misshaped),
    ...(missing.length > 0 ? section("stored but not wanted", unexpected, 5) : []),
  ];
  if (missing.length + misshaped.length > 0) {
    throw new LowrankError(
      "checkpoint",
      `${options.where}: the checkpoint holds every tensor of the model in its shape, got:\n${sections.join("\n")}\n` +
        "Check that the weights and the configuration belong together.",
    );
  }
  return { tensors, unexpected };
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dimension, i) => dimension === b[i]);
}

function section(title: string, lines: readonly string[], limit = MAX_LISTED): string[] {
  if (lines.length === 0) return [];
  return [`${lines.length} ${title}:\n${indented(capped(lines, limit))}`];
}

function capped(lines: readonly string[], limit = MAX_LISTED): string[] {
  if (lines.length <= limit) return [...lines];
  return [...lines.slice(0, limit), `and ${lines.length - limit} more`];
}

function listed(names: readonly string[]): string {
  return capped(names).join(", ");
}

function indented(lines: readonly string[]): string {
  return lines.map((line) => `  ${line}`).join("\n");
}

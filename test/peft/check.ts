/**
 * @file `npm run test:peft -- --python PATH [--count N] [--seed S] [--keep DIR]`: random small models and
 * adapters, written by transformers and PEFT (run.py), are loaded here and must give the same outputs and
 * losses; then they are saved here, and PEFT must load them without a warning, with the same tensors and
 * outputs; and they are trained here and by PyTorch, step by step (training.ts, training.py). What is refused
 * with an error of our own is counted apart, by its message.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LowrankError } from "../../src/errors.ts";
import { readFloat32, readHeader, readTensor } from "../../src/io/safetensors.ts";
import { applyLora } from "../../src/lora/apply.ts";
import { loadAdapterWeights, readAdapterConfig, saveAdapter } from "../../src/lora/peft-format.ts";
import { AutoModel } from "../../src/models/auto.ts";
import type { TaskType } from "../../src/models/family.ts";
import { modelInputs } from "../../src/models/inputs.ts";
import { bindParameters, loadParameters } from "../../src/nn/bind.ts";
import { deadRows } from "../../src/passes/dead-rows.ts";
import { compile } from "../../src/runtime/compile.ts";
import { Engine } from "../../src/runtime/engine.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { objectiveOf, type ProblemType } from "../../src/tasks/objectives.ts";
import { trainCase } from "./training.ts";

/** How far an output may be off: float32's own error times this, and this share of the largest value. */
const ERROR_FACTOR = 10;
const RELATIVE = 1e-5;
/** The same where the base loses parts of a decomposition first, which two libraries compute. */
const RELATIVE_DECOMPOSED = 1e-4;

interface CaseDescription {
  readonly model_type: string;
  readonly task: TaskType;
  readonly problem_type: ProblemType | null;
  readonly options: Readonly<Record<string, unknown>>;
  /** The model as transformers prints it. */
  readonly tree: string;
  readonly float32_errors: Readonly<Record<string, number>>;
}

type Outcome =
  | { readonly kind: "equal" }
  | { readonly kind: "refused" | "failed"; readonly reason: string };

interface CaseTensors {
  /** Inputs and labels; integers narrowed to int32. */
  readonly feeds: Record<string, HostTensor>;
  readonly expected: ReadonlyMap<string, Float32Array>;
}

async function readTensors(folder: string): Promise<CaseTensors> {
  const feeds: Record<string, HostTensor> = {};
  const expected = new Map<string, Float32Array>();
  const { tensors } = await readHeader(join(folder, "case.safetensors"));
  for (const [key, info] of tensors) {
    const [kind, name] = key.split("/") as [string, string];
    if (kind === "output") expected.set(name, await readFloat32(info));
    else if (info.dtype === "I64") {
      const data = Int32Array.from((await readTensor(info)) as BigInt64Array, Number);
      feeds[name] = { dtype: "int32", shape: info.shape, data };
    } else feeds[name] = { dtype: "float32", shape: info.shape, data: await readFloat32(info) };
  }
  return { feeds, expected };
}

/** Load a case's model and adapter, compare what they compute, save the adapter. */
async function checkCase(engine: Engine, folder: string, description: CaseDescription) {
  const { task, problem_type: problemType } = description;
  const base = await AutoModel.fromPretrained(join(folder, "model"), { task });
  const problems = differentLines(String(base.model), description.tree);
  const { lora } = await readAdapterConfig(join(folder, "adapter"));
  applyLora(base.model, lora, base.family);
  await loadAdapterWeights(join(folder, "adapter"), base.model, lora);
  await loadParameters(engine, base.model, { seed: 0 });

  const { feeds, expected } = await readTensors(folder);
  const [batch, tokens] = feeds["input_ids"]!.shape as [number, number];
  const inputs = modelInputs(
    { batch, length: engine.graphLength(tokens) },
    { tokenTypes: "token_type_ids" in feeds, positions: "position_ids" in feeds },
  );
  const objective = objectiveOf(task, { problemType: problemType ?? undefined });
  const { outputs, lossSum } = objective.build(base.model.forward(inputs));
  const graph = deadRows({ outputs: { ...outputs, loss: lossSum } });
  const program = await compile(engine, bindParameters(graph, base.model));
  const results = await engine.run(program, { feeds, fetch: Object.keys(graph.outputs) });
  await engine.release(program);

  const labels = objective.countLabels(feeds);
  const mask = feeds["attention_mask"]!.data as Int32Array;
  for (const [name, values] of expected) {
    const result = results.outputs[name]!.data as Float32Array;
    const actual = name === "loss" ? result.map((sum) => sum / labels) : result;
    // Outputs at padding are of no interest; a loss that needs them says so.
    const rows = values.length % mask.length === 0 ? mask : undefined;
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
    const relative = isDecomposed(description) ? RELATIVE_DECOMPOSED : RELATIVE;
    const tolerance = relative * largest + ERROR_FACTOR * description.float32_errors[name]!;
    problems.push(...compare(name, actual, values, tolerance, rows));
  }

  const saved = join(folder, "saved");
  mkdirSync(saved, { recursive: true });
  await saveAdapter(saved, base.model, {
    lora,
    baseModel: join(folder, "model"),
    values: async (path) => (await engine.get(path)).data as Float32Array,
  });
  return problems;
}

function isDecomposed({ options: { init_lora_weights: init } }: CaseDescription): boolean {
  return init === "pissa" || init === "olora";
}

function differentLines(actual: string, expected: string): string[] {
  if (actual === expected) return [];
  const [ours, theirs] = [actual.split("\n"), expected.split("\n")];
  const line = theirs.findIndex((text, i) => text !== ours[i]);
  return [`printed tree: line ${line + 1} is ${ours[line]}, in transformers ${theirs[line]}`];
}

function compare(
  name: string,
  actual: Float32Array,
  expected: Float32Array,
  tolerance: number,
  mask?: Int32Array,
): string[] {
  if (actual.length !== expected.length)
    return [`${name}: ${actual.length} values instead of ${expected.length}`];
  const width = mask ? expected.length / mask.length : 1;
  const distances = expected.map((value, i) =>
    mask?.[Math.floor(i / width)] === 0 ? 0 : Math.abs(value - actual[i]!),
  );
  const worst = distances.reduce((most, d) => (d > most || Number.isNaN(d) ? d : most), 0);
  return worst <= tolerance ? [] : [`${name}: off by ${worst}, allowed ${tolerance}`];
}

async function outcomeOf(
  engine: Engine,
  folder: string,
  description: CaseDescription,
): Promise<Outcome> {
  try {
    const problems = await checkCase(engine, folder, description);
    await trainCase(engine, folder, description);
    return problems.length === 0
      ? { kind: "equal" }
      : { kind: "failed", reason: problems.join("; ") };
  } catch (error) {
    if (error instanceof LowrankError && isRefusal(error)) {
      return { kind: "refused", reason: error.message.replaceAll(folder, "…") };
    }
    return { kind: "failed", reason: error instanceof Error ? error.message : String(error) };
  }
}

/** An error that says what is not implemented, instead of something that went wrong. */
function isRefusal({ message }: LowrankError): boolean {
  return /not implemented|not supported|implemented here/.test(message);
}

function python(path: string, ...args: string[]): Record<string, any> {
  const script = join(import.meta.dirname, "run.py");
  const { status, stdout, stderr } = spawnSync(path, [script, ...args], {
    encoding: "utf8",
    env: { ...process.env, HF_HUB_OFFLINE: "1", PYTHONDONTWRITEBYTECODE: "1" },
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(`${path} ${script} ${args.join(" ")} failed:\n${stderr}`);
  return JSON.parse(stdout.trim().split("\n").at(-1)!);
}

const { values: options } = parseArgs({
  options: {
    python: { type: "string", default: "python3" },
    count: { type: "string", default: "200" },
    seed: { type: "string", default: "0" },
    /** Use this folder, and leave it: cases that are there already are not written again. */
    keep: { type: "string" },
  },
});
const directory = options.keep ?? mkdtempSync(join(tmpdir(), "lowrank-peft-"));
mkdirSync(directory, { recursive: true });
if (readdirSync(directory).length === 0) {
  const { count, seed } = options;
  console.log(
    JSON.stringify(python(options.python, "write", directory, "--count", count, "--seed", seed)),
  );
}

const engine = await Engine.start();
const counts = { equal: 0, refused: 0, failed: 0 };
const refusals = new Map<string, number>();
for (const name of readdirSync(directory).sort()) {
  const folder = join(directory, name);
  for (const made of ["saved", "trained"])
    rmSync(join(folder, made), { recursive: true, force: true });
  const description = JSON.parse(
    readFileSync(join(folder, "case.json"), "utf8"),
  ) as CaseDescription;
  const outcome = await outcomeOf(engine, folder, description);
  counts[outcome.kind]++;
  if (outcome.kind === "refused")
    refusals.set(outcome.reason, (refusals.get(outcome.reason) ?? 0) + 1);
  if (outcome.kind === "failed") {
    const { model_type: family, task } = description;
    console.log(`FAIL ${name} ${family} ${task}: ${outcome.reason}`);
    console.log(`     ${JSON.stringify(description.options)}`);
  }
}
await engine.close();

const back = python(options.python, "verify", directory);
for (const [name, problems] of Object.entries<string[]>(back["problems"])) {
  console.log(`FAIL ${name}, loaded by PEFT: ${problems.join("; ")}`);
}
const again = python(options.python, "train", directory);
for (const [name, problems] of Object.entries<string[]>(again["problems"])) {
  const { recipe } = JSON.parse(readFileSync(join(directory, name, "training.json"), "utf8"));
  console.log(`FAIL ${name}, trained by PyTorch: ${problems.join("; ")}`);
  console.log(`     ${JSON.stringify(recipe)}`);
}
for (const [reason, count] of refusals) console.log(`refused ${count}: ${reason}`);
const failedBack = Object.keys(back["problems"]).length;
console.log(
  `read: ${counts.equal} equal, ${counts.failed} failed, ${counts.refused} refused; ` +
    `read back by PEFT: ${back["passed"]} equal, ${failedBack} failed`,
);
const failedAgain = Object.keys(again["problems"]).length;
const numbers = Object.values<Record<string, number>>(again["counts"]);
const total = (name: string): number => numbers.reduce((sum, count) => sum + count[name]!, 0);
const vague = numbers.filter((count) => count["left_out"]! > count["compared"]!).length;
const most = (name: string): string =>
  `${Math.round(100 * Math.max(0, ...numbers.map((count) => count[name]!)))} %`;
console.log(
  `trained by PyTorch: ${again["passed"]} equal, ${failedAgain} failed, ` +
    `in ${vague} less than half is determined; ` +
    `${total("compared")} numbers compared, ${total("left_out")} not determined; ` +
    `of what is allowed are used ${most("used")}, by PyTorch's float32 ${most("used_by_torch")}`,
);
if (options.keep === undefined) rmSync(directory, { recursive: true });
process.exitCode = counts.failed + failedBack + failedAgain > 0 ? 1 : 0;

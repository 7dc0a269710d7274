/** @file The checks of one fixture: what the project computes against the expected numbers. */
import { join } from "node:path";
import { grad } from "../../src/autodiff/grad.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { float32ToBF16, float32ToF16 } from "../../src/io/safetensors.ts";
import type { Tensor } from "../../src/graph/node.ts";
import { applyLora, loraLayers } from "../../src/lora/apply.ts";
import {
  adapterParameters,
  loadAdapterWeights,
  parseAdapterConfig,
  readAdapterConfig,
} from "../../src/lora/peft-format.ts";
import { mergedWeights, readerOf } from "../../src/lora/merge.ts";
import { mergedTensors, mergedValues, untiedTensors } from "../../src/lora/merged-tensors.ts";
import { AutoModel, FAMILIES, type PretrainedModel } from "../../src/models/auto.ts";
import type { Model } from "../../src/models/family.ts";
import { modelInputs } from "../../src/models/inputs.ts";
import { bindParameters, loadParameters } from "../../src/nn/bind.ts";
import { countParameters } from "../../src/nn/module.ts";
import type { Parameter } from "../../src/nn/parameter.ts";
import { deadRows } from "../../src/passes/dead-rows.ts";
import { PASSES, type PassName } from "../../src/passes/optimize.ts";
import { compile } from "../../src/runtime/compile.ts";
import type { Engine } from "../../src/runtime/engine.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { objectiveOf } from "../../src/tasks/objectives.ts";
import { Stepper, type MicroBatch } from "../../src/train/step/stepper.ts";
import { mul } from "../../src/ops/elementwise.ts";
import { checkGeneration } from "./generation.ts";
import { checkSeed } from "./seed.ts";
import {
  compareNumber,
  compareNumbers,
  compareTensor,
  feed,
  readFixture,
  worst,
  type Deviation,
  type Fixture,
} from "./fixture.ts";

export interface Check {
  readonly name: string;
  /** Absent when skipped. */
  readonly deviation?: Deviation;
  readonly skipped?: string;
}

export interface CheckOptions {
  readonly engine: Engine;
  readonly passes?: readonly PassName[];
  /** Compile each length by itself, also where the device serves all with one program. */
  readonly staticLengths?: boolean;
  /** Leave out the other parts of a fixture: "base", "adapter NAME", "training NAME",
   * "generation". */
  readonly only?: readonly string[];
}

/** All checks of the fixture `name` below `directory`, as they are done. */
export async function* checkFixture(
  directory: string,
  name: string,
  options: CheckOptions,
): AsyncGenerator<Check> {
  const fixture = await readFixture(directory, name);
  if (fixture.golden.task === "SEED_CLASSIFICATION") {
    yield* checkSeed(fixture, options);
    return;
  }
  const reason = whyUnsupported(fixture);
  if (reason) {
    yield { name, skipped: reason };
    return;
  }
  const wanted = (part: string): boolean => options.only?.includes(part) ?? true;
  for (const configFile of wanted("base") ? ["config.json", "config.v5.json"] : []) {
    for (const caseName of Object.keys(fixture.golden.base)) {
      const base = await loadBase(fixture, configFile);
      yield* checkEvaluation(
        fixture,
        base,
        options,
        `${name} base ${configFile}`,
        "base",
        caseName,
      );
    }
  }
  for (const adapter of Object.keys(fixture.golden.adapters))
    if (wanted(`adapter ${adapter}`)) yield* checkAdapter(fixture, adapter, options);
  for (const run of Object.keys(fixture.golden.training))
    if (wanted(`training ${run}`)) yield* checkTraining(fixture, run, options);
  if (fixture.golden.generation && wanted("generation")) yield* checkTexts(fixture, options);
}

/** Generation by the base model and by its adapters. */
async function* checkTexts(fixture: Fixture, { engine }: CheckOptions): AsyncGenerator<Check> {
  for (const part of Object.keys(fixture.golden.generation)) {
    const [kind, adapter] = part.split("/");
    if (kind !== "base" && kind !== "adapter") continue;
    const base = await loadBase(fixture);
    if (adapter !== undefined) {
      await loadAdapter(
        fixture,
        base,
        join(fixture.directory, fixture.golden.adapters[adapter].directory),
      );
    }
    await loadParameters(engine, base.model, { seed: 0 });
    yield* checkGeneration(fixture, base, engine, part);
  }
}

/** What a fixture needs that is not there; undefined when it can be checked. */
export function whyUnsupported({ golden }: Pick<Fixture, "golden">): string | undefined {
  if (golden.task === "SEED_CLASSIFICATION") return undefined;
  const family = FAMILIES.find((candidate) => candidate.modelType === golden.model_type);
  if (!family) return `model type ${golden.model_type} is not implemented yet`;
  if (!(golden.task in family.models))
    return `${golden.model_type} for ${golden.task} is not implemented yet`;
  return undefined;
}

function loadBase(fixture: Fixture, configFile = "config.json"): Promise<PretrainedModel> {
  const { golden, directory } = fixture;
  const labels = golden.num_labels === undefined ? {} : { num_labels: golden.num_labels as number };
  return AutoModel.fromPretrained(directory, { task: golden.task, configFile, config: labels });
}

async function loadAdapter(fixture: Fixture, base: PretrainedModel, directory: string) {
  const { lora } = await readAdapterConfig(directory);
  applyLora(base.model, lora, base.family);
  await loadAdapterWeights(directory, base.model, lora);
  return lora;
}

/** An adapter at its start, where that is a part of the base's weights. */
function initialAdapter(base: PretrainedModel, config: unknown, label: string) {
  const { lora } = parseAdapterConfig(config, label);
  applyLora(base.model, lora, base.family);
  return lora;
}

// ---------------------------------------------------------------- one forward pass

interface Case {
  readonly feeds: Record<string, HostTensor>;
  readonly key: string;
  readonly labels: number;
}

async function readCase(fixture: Fixture, keys: Record<string, string>): Promise<Case> {
  const feeds: Record<string, HostTensor> = {};
  for (const [input, key] of Object.entries(keys)) feeds[input] = await feed(fixture, key);
  const key = Object.entries(feeds)
    .map(([input, { shape }]) => `${input}[${shape}]`)
    .join();
  return { feeds, key, labels: objective(fixture).countLabels(feeds) };
}

const objective = ({ golden }: Fixture) =>
  objectiveOf(golden.task, { problemType: golden.problem_type ?? undefined });

function forward(
  fixture: Fixture,
  base: PretrainedModel,
  { feeds }: Case,
  { engine, staticLengths = false }: CheckOptions,
) {
  const [batch, tokens] = feeds["input_ids"]!.shape as [number, number];
  const inputs = modelInputs(
    { batch, length: staticLengths ? tokens : engine.graphLength(tokens) },
    {
      tokenTypes: "token_type_ids" in feeds,
      positions: "position_ids" in feeds,
    },
  );
  return objective(fixture).build(base.model.forward(inputs));
}

async function runGraph(
  graph: Graph,
  base: PretrainedModel,
  feeds: Record<string, HostTensor>,
  { engine, passes = PASSES }: CheckOptions,
) {
  const prepared = passes.includes("dead-rows") ? deadRows(graph) : graph;
  const program = await compile(engine, bindParameters(prepared, base.model), { passes });
  const { outputs } = await engine.run(program, { feeds, fetch: Object.keys(graph.outputs) });
  await engine.release(program);
  return outputs;
}

async function* checkEvaluation(
  fixture: Fixture,
  base: PretrainedModel,
  options: CheckOptions,
  label: string,
  path: string,
  caseName: string,
): AsyncGenerator<Check> {
  const golden = path.split("/").reduce((value, key) => value[key], fixture.golden);
  const expected = golden[caseName];
  const testCase = await readCase(fixture, fixture.golden.cases[caseName]);
  await loadParameters(options.engine, base.model, { seed: 0 });
  const { outputs, lossSum } = forward(fixture, base, testCase, options);
  const graph: Graph = { outputs: { ...outputs, loss: lossSum } };
  const results = await runGraph(graph, base, testCase.feeds, options);
  const loss = (results["loss"]!.data[0] as number) / Math.max(1, testCase.labels);
  const deviations = [compareNumber(expected.loss, loss)];
  for (const [output, key] of Object.entries<string>(expected.outputs))
    deviations.push(await compareTensor(fixture, key, results[output]!.data));
  yield { name: `${label} ${caseName}`, deviation: worst(deviations) };
}

// ---------------------------------------------------------------- adapters

async function* checkAdapter(
  fixture: Fixture,
  adapter: string,
  options: CheckOptions,
): AsyncGenerator<Check> {
  const golden = fixture.golden.adapters[adapter];
  const label = `${fixture.name} adapter ${adapter}`;
  const { engine } = options;
  const base = await loadBase(fixture);
  const before = base.model.namedParameters();
  const lora = golden.directory
    ? await loadAdapter(fixture, base, join(fixture.directory, golden.directory))
    : initialAdapter(base, golden.config, label);

  const scales = Object.fromEntries(
    [...loraLayers(base.model)].map(([path, layer]) => [path, layer.scale]),
  );
  const counted = countParameters(base.model, { trainable: true });
  const sameScales =
    Object.keys(scales).length === Object.keys(golden.scaling).length &&
    Object.entries<number>(golden.scaling).every(
      ([path, scale]) => Math.abs((scales[path] ?? NaN) - scale) < 1e-9,
    );
  yield { name: `${label} scaling`, deviation: exactly(sameScales) };
  yield {
    name: `${label} trainable parameters`,
    deviation: exactly(counted === golden.trainable_parameters),
  };

  const evaluation = golden.directory ? "evaluation" : "evaluation_at_initialization";
  for (const caseName of Object.keys(golden[evaluation])) {
    yield* checkEvaluation(
      fixture,
      base,
      options,
      label,
      `adapters/${adapter}/${evaluation}`,
      caseName,
    );
  }
  if (!golden.directory) {
    const rest = await compareAll(fixture, golden.residual_weights, async (name) => {
      const parameter = name.replace(/\.weight$/, ".base_layer.weight");
      return (await engine.get(parameter)).data;
    });
    yield { name: `${label} residual weights`, deviation: rest };
    return;
  }

  const testCase = await readCase(fixture, fixture.golden.cases[golden.gradients.case]);
  const parameters = adapterParameters(base.model, lora);
  const names = Object.keys(golden.gradients.tensors);
  const { lossSum } = forward(fixture, base, testCase, options);
  const mean = deadRowsIf(options, mul(lossSum, 1 / testCase.labels));
  const { gradients } = grad(
    mean,
    names.map((name) => parameters.get(name)!),
  );
  const gradientGraph = {
    outputs: Object.fromEntries(names.map((name, i) => [`gradient ${name}`, gradients[i]!])),
  };
  const outputs = await runGraph(gradientGraph, base, testCase.feeds, options);
  const deviations = await Promise.all(
    names.map((name) =>
      compareTensor(fixture, golden.gradients.tensors[name], outputs[`gradient ${name}`]!.data),
    ),
  );
  yield { name: `${label} gradients`, deviation: worst(deviations) };

  const merged = await runGraph(mergedWeights(base.model), base, {}, options);
  const mergedDeviation = await compareAll(
    fixture,
    golden.merged.tensors,
    async (name) => merged[name]?.data ?? (await unmergedValue(engine, base.model, name)),
  );
  yield { name: `${label} merged weights`, deviation: mergedDeviation };
  yield* checkMergedFiles(fixture, base, before, golden.merged, label);
}

/** What a merged model's files hold: weights rounded as the base's are stored, and the output head apart where needed. */
async function* checkMergedFiles(
  fixture: Fixture,
  { model }: PretrainedModel,
  before: ReadonlyMap<string, Parameter>,
  golden: any,
  label: string,
): AsyncGenerator<Check> {
  const tensors = mergedTensors(model);
  const untied = untiedTensors(before, tensors).length > 0;
  yield { name: `${label} untying`, deviation: exactly(untied === golden.requires_untying) };
  if (!golden.stored_tensors) return;
  const round = fixture.golden.stored_dtype === "F16" ? float32ToF16 : float32ToBF16;
  const deviation = await compareAll(fixture, golden.stored_tensors, async (name) => {
    const tensor = tensors.find((candidate) => candidate.name === name)!;
    return round(await mergedValues(tensor, readerOf(model)(0)));
  });
  yield { name: `${label} stored weights`, deviation };
}

async function compareAll(
  fixture: Fixture,
  keys: Readonly<Record<string, string>>,
  actual: (name: string) => Promise<ArrayLike<number | bigint>>,
): Promise<Deviation> {
  const deviations: Deviation[] = [];
  for (const [name, key] of Object.entries(keys)) {
    deviations.push(await compareTensor(fixture, key, await actual(name)));
  }
  return worst(deviations);
}

/** A tensor that merging takes over as it is: a saved module's, a trained bias, or the output head that
 * an adapted embedding leaves as it was. */
async function unmergedValue(engine: Engine, model: Model, name: string) {
  const candidates = [
    name,
    name.replace(/\.(weight|bias)$/, ".base_layer.$1"),
    ...(name === "lm_head.weight" ? ["transformer.wte.base_layer.weight"] : []),
  ];
  // The engine may still have what an earlier model called so.
  const parameters = model.namedParameters();
  const own = candidates.find((candidate) => parameters.has(candidate));
  if (own === undefined) throw new Error(`nothing gives ${name}`);
  return (await engine.get(own)).data;
}

function deadRowsIf({ passes = PASSES }: CheckOptions, loss: Tensor): Tensor {
  return passes.includes("dead-rows") ? deadRows({ outputs: { loss } }).outputs["loss"]! : loss;
}

function exactly(equal: boolean): Deviation {
  return equal ? { largest: 0, used: 0 } : { largest: Infinity, used: Infinity };
}

// ---------------------------------------------------------------- training runs

async function* checkTraining(
  fixture: Fixture,
  run: string,
  options: CheckOptions,
): AsyncGenerator<Check> {
  const golden = fixture.golden.training[run];
  const label = `${fixture.name} training ${run}`;
  const base = await loadBase(fixture);
  const lora = golden.final
    ? await loadAdapter(fixture, base, join(fixture.directory, golden.start))
    : initialAdapter(base, fixture.golden.adapters[golden.adapter].config, label);
  const { optimizer } = golden;
  const stepper = await Stepper.create(options.engine, base.model, {
    betas: optimizer.betas,
    eps: optimizer.eps,
    weightDecay: optimizer.weight_decay,
    ...(golden.max_grad_norm === null ? {} : { maxGradNorm: golden.max_grad_norm as number }),
    seed: 0,
    passes: options.passes ?? PASSES,
  });
  const losses: number[] = [];
  const norms: number[] = [];
  for (let step = 0; step < golden.steps; step++) {
    const batches: MicroBatch[] = [];
    for (const keys of golden.batches[step % golden.batches.length]) {
      const testCase = await readCase(fixture, keys);
      batches.push({
        ...testCase,
        lossSum: () => forward(fixture, base, testCase, options).lossSum,
      });
    }
    const { loss, gradNorm } = await stepper.step(batches, golden.learning_rates[step]);
    losses.push(loss);
    norms.push(gradNorm);
  }
  yield { name: `${label} losses`, deviation: compareNumbers(golden.losses, losses) };
  yield { name: `${label} gradient norms`, deviation: compareNumbers(golden.grad_norms, norms) };
  if (!golden.final) {
    yield* checkFinalModel(fixture, base, golden, options, label);
    return;
  }
  const names = new Map(
    [...base.model.namedParameters()].map(([name, parameter]) => [parameter, name]),
  );
  const parameters = adapterParameters(base.model, lora);
  const deviation = await compareAll(fixture, golden.final, (name) =>
    stepper.values(names.get(parameters.get(name)!)!),
  );
  yield { name: `${label} final tensors`, deviation };
}

/** A run whose A and B are determined up to their signs: what they make of the model, trained here and read from the
 * fixture. */
async function* checkFinalModel(
  fixture: Fixture,
  trained: PretrainedModel,
  golden: any,
  options: CheckOptions,
  label: string,
): AsyncGenerator<Check> {
  const testCase = await readCase(fixture, fixture.golden.cases["right_padded"]);
  const check = async function* (base: PretrainedModel, name: string): AsyncGenerator<Check> {
    const { outputs } = forward(fixture, base, testCase, options);
    const results = await runGraph({ outputs }, base, testCase.feeds, options);
    const merged = await runGraph(mergedWeights(base.model), base, {}, options);
    const byOutput = await compareAll(
      fixture,
      golden.final_outputs,
      async (output) => results[output]!.data,
    );
    yield { name: `${name} outputs`, deviation: byOutput };
    const byWeight = await compareAll(
      fixture,
      golden.final_merged,
      async (weight) => merged[weight]!.data,
    );
    yield { name: `${name} merged weights`, deviation: byWeight };
  };
  yield* check(trained, `${label} final`);
  const loaded = await loadBase(fixture);
  await loadAdapter(fixture, loaded, join(fixture.directory, golden.final_adapter));
  await loadParameters(options.engine, loaded.model, { seed: 0 });
  yield* check(loaded, `${label} stored final`);
}

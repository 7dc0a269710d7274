/** @file The checks of the lecture's own GPT and its LoRA. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { grad } from "../../src/autodiff/grad.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { input } from "../../src/graph/leaves.ts";
import type { Tensor } from "../../src/graph/node.ts";
import { readHeader } from "../../src/io/safetensors.ts";
import { replaceLinearWithLora } from "../../src/lora/lecture.ts";
import { GPTModel, loadGpt2Weights, type GPTConfig } from "../../src/models/gpt-model.ts";
import { bindParameters, loadParameters } from "../../src/nn/bind.ts";
import { countParameters, freeze } from "../../src/nn/module.ts";
import { loadStateDict } from "../../src/nn/state-dict.ts";
import { mul } from "../../src/ops/elementwise.ts";
import { crossEntropySum } from "../../src/ops/functional.ts";
import { reshape, slice } from "../../src/ops/movement.ts";
import { PASSES } from "../../src/passes/optimize.ts";
import { compile } from "../../src/runtime/compile.ts";
import type { HostTensor } from "../../src/runtime/protocol.ts";
import { Stepper } from "../../src/train/step/stepper.ts";
import type { Check, CheckOptions } from "./check.ts";
import {
  compareNumber,
  compareNumbers,
  compareTensor,
  feed,
  worst,
  type Fixture,
} from "./fixture.ts";

function gptConfig(stored: Record<string, any>): GPTConfig {
  return {
    vocabSize: stored["vocab_size"],
    contextLength: stored["context_length"],
    embDim: stored["emb_dim"],
    nHeads: stored["n_heads"],
    nLayers: stored["n_layers"],
    dropRate: stored["drop_rate"],
    qkvBias: stored["qkv_bias"],
    numClasses: stored["num_classes"],
  };
}

/** Mean cross-entropy is over the last position: logits [B, T, K] → Σ loss. */
function lastPositionLoss(logits: Tensor): Tensor {
  const [batch, length, classes] = logits.shape as [number, number, number];
  const last = reshape(slice(logits, 1, length - 1, length), [batch, classes]);
  return crossEntropySum(last, input("labels", "int32", [batch]));
}

const idsInput = ({ shape }: HostTensor): Tensor => input("input_ids", "int32", shape);

export async function* checkSeed(fixture: Fixture, options: CheckOptions): AsyncGenerator<Check> {
  const { golden, directory, name } = fixture;
  const stored = JSON.parse(await readFile(join(directory, "config.json"), "utf8"));
  const config = gptConfig(stored);
  const ids = await feed(fixture, golden.input_ids);
  const labels = await feed(fixture, golden.labels);
  const feeds = { input_ids: ids, labels };
  const count = labels.data.length;

  const run = async (model: GPTModel, graph: Graph) => {
    await loadParameters(options.engine, model, { seed: 0 });
    const program = await compile(options.engine, bindParameters(graph, model), {
      passes: options.passes ?? PASSES,
    });
    return (await options.engine.run(program, { feeds, fetch: Object.keys(graph.outputs) }))
      .outputs;
  };
  const load = async (model: GPTModel, file: string, strict: boolean): Promise<void> =>
    loadStateDict(model, await readHeader(join(directory, file)), { where: file, strict });

  const base = new GPTModel(config);
  await load(base, "model.safetensors", true);
  const plain = base.forward(idsInput(ids));
  const outputs = await run(base, { outputs: { logits: plain, loss: lastPositionLoss(plain) } });
  yield {
    name: `${name} base`,
    deviation: worst([
      await compareTensor(fixture, golden.base.logits, outputs["logits"]!.data),
      compareNumber(golden.base.loss, (outputs["loss"]!.data[0] as number) / count),
    ]),
  };

  const languageModel = new GPTModel({ ...config, numClasses: undefined as never });
  await loadGpt2Weights(languageModel, join(directory, "gpt2"));
  const lm = await run(languageModel, {
    outputs: { logits: languageModel.forward(idsInput(ids)) },
  });
  yield {
    name: `${name} language model from GPT-2`,
    deviation: await compareTensor(fixture, golden.language_model.logits, lm["logits"]!.data),
  };

  const { rank, alpha } = stored;
  freeze(base);
  replaceLinearWithLora(base, { rank, alpha });
  await load(base, "lora_init.safetensors", false);
  const initial = await run(base, { outputs: { logits: base.forward(idsInput(ids)) } });
  yield {
    name: `${name} LoRA at initialization`,
    deviation: await compareTensor(
      fixture,
      golden.lora_at_initialization.logits,
      initial["logits"]!.data,
    ),
  };

  await load(base, "lora.safetensors", false);
  const adapted = base.forward(idsInput(ids));
  const loss = mul(lastPositionLoss(adapted), 1 / count);
  const parameters = base.namedParameters();
  const names = Object.keys(golden.lora.gradients);
  const { gradients } = grad(
    loss,
    names.map((key) => parameters.get(key)!),
  );
  const results = await run(base, {
    outputs: {
      logits: adapted,
      loss,
      ...Object.fromEntries(names.map((key, i) => [`d ${key}`, gradients[i]!])),
    },
  });
  const deviations = [
    await compareTensor(fixture, golden.lora.logits, results["logits"]!.data),
    compareNumber(golden.lora.loss, results["loss"]!.data[0] as number),
  ];
  for (const key of names)
    deviations.push(
      await compareTensor(fixture, golden.lora.gradients[key], results[`d ${key}`]!.data),
    );
  yield { name: `${name} LoRA outputs and gradients`, deviation: worst(deviations) };

  await load(base, "lora_init.safetensors", false);
  const { training } = golden;
  const stepper = await Stepper.create(options.engine, base, {
    betas: training.optimizer.betas,
    eps: training.optimizer.eps,
    weightDecay: training.optimizer.weight_decay,
    seed: 0,
    passes: options.passes ?? PASSES,
  });
  const [losses, norms]: [number[], number[]] = [[], []];
  for (let step = 0; step < training.steps; step++) {
    const keys = training.batches[step % training.batches.length];
    const batch = {
      input_ids: await feed(fixture, keys.input_ids),
      labels: await feed(fixture, keys.labels),
    };
    const result = await stepper.step(
      [
        {
          key: String(batch.input_ids.shape),
          lossSum: () => lastPositionLoss(base.forward(idsInput(batch.input_ids))),
          feeds: batch,
          labels: batch.labels.data.length,
        },
      ],
      training.optimizer.lr,
    );
    losses.push(result.loss);
    norms.push(result.gradNorm);
  }
  yield { name: `${name} training losses`, deviation: compareNumbers(training.losses, losses) };
  yield {
    name: `${name} training gradient norms`,
    deviation: compareNumbers(training.grad_norms, norms),
  };
  const finals = [];
  for (const [key, tensor] of Object.entries<string>(training.final)) {
    finals.push(await compareTensor(fixture, tensor, await stepper.values(key)));
  }
  yield { name: `${name} training final tensors`, deviation: worst(finals) };

  for (const { config: counted, rank: countedRank, trainable } of golden.parameter_counts) {
    const model = new GPTModel(gptConfig(counted));
    const before = countParameters(model, { trainable: true });
    freeze(model);
    const after = countParameters(model, { trainable: true });
    replaceLinearWithLora(model, { rank: countedRank, alpha: 16 });
    const withLora = countParameters(model, { trainable: true });
    const equal =
      before === trainable.before_freezing &&
      after === trainable.after_freezing &&
      withLora === trainable.with_lora;
    yield {
      name: `${name} parameter counts ${before} → ${after} → ${withLora}`,
      deviation: { largest: equal ? 0 : Infinity, used: equal ? 0 : Infinity },
    };
  }
}

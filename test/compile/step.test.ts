/** @file The whole training step of a tiny model as text: what the passes leave. A change of this snapshot is
 * a change of what every training run computes; read it line by line. */
import { expect, test } from "vitest";
import { topologicalOrder, type Graph } from "../../src/graph/graph.ts";
import { printGraph } from "../../src/graph/print.ts";
import { applyLora } from "../../src/lora/apply.ts";
import { loraConfig } from "../../src/lora/config.ts";
import { modelFromConfig } from "../../src/models/auto.ts";
import { modelInputs } from "../../src/models/inputs.ts";
import { ADAMW_DEFAULTS } from "../../src/optim/adamw.ts";
import { optimize, PASSES, type PassName } from "../../src/passes/optimize.ts";
import { verify } from "../../src/passes/verify.ts";
import { objectiveOf } from "../../src/tasks/objectives.ts";
import { buildStep } from "../../src/train/step/step.ts";
import { makeBuckets } from "../../src/train/step/trainable.ts";

const GPT2 = {
  model_type: "gpt2",
  vocab_size: 9,
  n_positions: 4,
  n_embd: 4,
  n_layer: 1,
  n_head: 2,
};

/** The step of one block with LoRA on its attention's projection, after the passes. */
function compiledStep(passes: readonly PassName[] = PASSES): Graph {
  const dropout = { embd_pdrop: 0, attn_pdrop: 0, resid_pdrop: 0 };
  const { model, family } = modelFromConfig({ ...GPT2, ...dropout });
  applyLora(model, loraConfig({ r: 2, loraAlpha: 4, targetModules: ["c_attn"] }), family);
  const logits = model.forward(modelInputs({ batch: 2, length: 3 }));
  const { graph } = buildStep(
    model,
    makeBuckets(model),
    objectiveOf("SEQ_CLS").build(logits).lossSum,
    { accumulated: false, update: true },
    { ...ADAMW_DEFAULTS, weightDecay: 0.1, maxGradNorm: 1 },
    { passes },
  );
  return optimize(graph, { passes, afterPass: (name, current) => verify(current, name) });
}

test("the step of a GPT-2 block with LoRA", () => {
  expect(printGraph(compiledStep())).toMatchSnapshot();
});

function count(passes: readonly PassName[]): number {
  const nodes = topologicalOrder(Object.values(compiledStep(passes).outputs));
  return nodes.filter(({ op }) => op.kind !== "leaf").length;
}

// Fewer nodes are not always less work: dead-rows adds some that are small, and makes others smaller.
test("nodes without each of the passes", () => {
  const counts = Object.fromEntries(
    PASSES.map((left) => [`all but ${left}`, count(PASSES.filter((pass) => pass !== left))]),
  );
  expect({ none: count([]), ...counts, all: count(PASSES) }).toMatchInlineSnapshot(`
    {
      "all": 194,
      "all but cse": 204,
      "all but dead-rows": 179,
      "all but flatten": 198,
      "all but fold": 354,
      "all but fuse": 239,
      "all but tile": 194,
      "all but transpose-first": 194,
      "none": 245,
    }
  `);
});

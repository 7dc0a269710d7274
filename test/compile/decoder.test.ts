/** @file A LLaMA block with LoRA forwards and backwards as text, with the length left open: what the passes
 * leave of grouped heads, rotations and gates. A change of this snapshot is a change of what training runs
 * compute; read it line by line. */
import { expect, test } from "vitest";
import { grad } from "../../src/autodiff/grad.ts";
import { DYNAMIC_LENGTH } from "../../src/graph/dynamic.ts";
import { printGraph } from "../../src/graph/print.ts";
import { applyLora } from "../../src/lora/apply.ts";
import { loraConfig } from "../../src/lora/config.ts";
import { modelFromConfig } from "../../src/models/auto.ts";
import { modelInputs } from "../../src/models/inputs.ts";
import { bindParameters } from "../../src/nn/bind.ts";
import { deadRows } from "../../src/passes/dead-rows.ts";
import { optimize } from "../../src/passes/optimize.ts";
import { verify } from "../../src/passes/verify.ts";
import { objectiveOf } from "../../src/tasks/objectives.ts";

const LLAMA = {
  model_type: "llama",
  vocab_size: 9,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  pad_token_id: 0,
};

test("loss and gradients of a LLaMA block with LoRA", () => {
  const { model, family } = modelFromConfig(LLAMA);
  applyLora(model, loraConfig({ r: 2, loraAlpha: 4, targetModules: ["q_proj"] }), family);
  const logits = model.forward(modelInputs({ batch: 2, length: DYNAMIC_LENGTH }));
  const { lossSum } = objectiveOf("SEQ_CLS").build(logits);
  const root = deadRows({ outputs: { loss: lossSum } }).outputs["loss"]!;
  const trained = [...model.namedParameters()].filter(([, { requiresGrad }]) => requiresGrad);
  const { loss, gradients } = grad(
    root,
    trained.map(([, parameter]) => parameter),
  );
  const outputs = Object.fromEntries(trained.map(([name], i) => [`d ${name}`, gradients[i]!]));
  const graph = bindParameters({ outputs: { loss, ...outputs } }, model);
  const compiled = optimize(graph, { afterPass: (name, current) => verify(current, name) });
  expect(printGraph(compiled)).toMatchSnapshot();
});

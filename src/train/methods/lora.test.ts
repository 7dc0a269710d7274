import { describe, expect, it } from "vitest";
import { modelFromConfig, type PretrainedModel } from "../../models/auto.ts";
import type { TaskType } from "../../models/family.ts";
import type { Task } from "../../tasks/task.ts";
import { adapterConfig } from "./lora.ts";
import { trainOptions } from "../options.ts";

const CONFIG = {
  vocab_size: 9,
  hidden_size: 8,
  intermediate_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  pad_token_id: 0,
};

/** The modules that an adapter stores whole when a checkpoint lacks some parts of the model. */
function saved(
  type: TaskType,
  newParameters: readonly string[],
  modelType = "modernbert",
): readonly string[] | null {
  const built = modelFromConfig({ ...CONFIG, model_type: modelType }, type);
  const base = { ...built, newParameters } as unknown as PretrainedModel;
  const options = trainOptions({ model: "m", data: "d", r: 2 });
  return adapterConfig(options, base, { type } as Task).modulesToSave;
}

describe("adapterConfig", () => {
  it("stores new parts of the model whole, unless the task does so by itself", () => {
    const classifier = ["classifier.weight", "classifier.bias"];
    expect(saved("QUESTION_ANS", [])).toBeNull();
    expect(saved("SEQ_CLS", classifier)).toBeNull();
    expect(saved("QUESTION_ANS", classifier)).toEqual(["classifier"]);
    expect(saved("SEQ_CLS", ["head.dense.weight", ...classifier])).toEqual(["head"]);
    const pooler = ["bert.pooler.dense.weight", "bert.pooler.dense.bias"];
    expect(saved("SEQ_CLS", [...classifier, ...pooler], "bert")).toEqual(["pooler"]);
  });

  it("refuses names that mean no module", () => {
    const built = modelFromConfig({ ...CONFIG, model_type: "bert" }, "SEQ_CLS");
    const base = { ...built, newParameters: [] } as unknown as PretrainedModel;
    const options = trainOptions({ model: "m", data: "d", r: 2, modulesToSave: ["poler"] });
    expect(() => adapterConfig(options, base, { type: "SEQ_CLS" } as Task)).toThrow(
      'modulesToSave: "poler" matches no module.',
    );
  });
});

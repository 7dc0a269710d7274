/** @file The end of the report: how its numbers came about, and what can be concluded from them. */
import { formatBytes, formatCount, plural } from "../../format.ts";
import type { Comparison } from "../comparison.ts";
import type { Setting } from "../setting.ts";
import { markup, type Markup } from "./markup.ts";
import { formatTick } from "./words.ts";

/** Setting, and what the numbers show and do not. */
export function settingSection(comparison: Comparison, setting: Setting): Markup {
  return markup`<h2>What these numbers show</h2>
<ul>
${shown(comparison, setting).map((text) => markup`<li>${text}</li>`)}
</ul>
<h2>What they do not show</h2>
<ul>
${notShown(comparison, setting).map((text) => markup`<li>${text}</li>`)}
</ul>
<h2>Setting</h2>
<dl>
${facts(setting).map(([name, value]) => markup`<dt>${name}</dt><dd>${value}</dd>`)}
</dl>
<details><summary>All options of training</summary>
<dl>
${Object.entries(setting.base).map(([name, value]) => markup`<dt>${name}</dt><dd><code>${JSON.stringify(value)}</code></dd>`)}
</dl>
</details>`;
}

function shown({ matrices }: Comparison, { methods, seeds }: Setting): string[] {
  return [
    "What each method reached with this model, these data, these options and these seeds, what it took, and what it leaves to be stored.",
    ...(methods.length > 1
      ? [
          "Whether LoRA comes as far as full fine-tuning here, and from which rank on: where their spreads overlap, the difference may be chance.",
        ]
      : []),
    ...(matrices.length > 0 && methods.includes("full")
      ? [
          "How many ranks full fine-tuning's change has: what a matrix of rank r can hold of it is a fact of the trained weights (Eckart and Young), not of how LoRA was trained.",
        ]
      : []),
    ...(seeds.length > 1
      ? [
          "How much chance there is: a seed decides about new weights, the order of the examples and dropout, and about the part that is held out.",
        ]
      : []),
  ];
}

function notShown(
  { matrices }: Comparison,
  { methods, seeds, examples, learningRates, parallel, base }: Setting,
): string[] {
  const both = methods.length > 1;
  return [
    ...(seeds.length < 5
      ? [
          `Small differences: ${plural(seeds.length, "seed")} ${seeds.length === 1 ? "gives no deviation at all" : "give only a rough deviation"}, and ${plural(examples.test ?? examples.validation, "example")} resolve ${(100 / (examples.test ?? examples.validation)).toFixed(2)} points of accuracy at best.`,
        ]
      : []),
    ...(examples.test === undefined
      ? [
          "How good the kept step is on data that had no say: the same validation data choose the step and measure it, which flatters every method.",
        ]
      : []),
    both
      ? `The best that each method can do: the learning rates (full fine-tuning ${formatTick(learningRates.full)}, LoRA ${formatTick(learningRates.lora)}) were set beforehand, not searched for each method and rank, and all train for equally long.`
      : "The best that each rank can do: one learning rate served all, and all trained for equally long.",
    ...(methods.includes("lora")
      ? [
          `The effect of the rank alone: with alpha ${String(base["loraAlpha"])} for all, the change is scaled by ${base["useRslora"] === true ? "alpha / √r" : "alpha / r"}, so that higher ranks take smaller steps per rank.`,
        ]
      : []),
    ...(both && matrices.length > 0
      ? [
          "That the energy is what matters: a part of the change that is small in its squares may matter to the task, and LoRA finds a change of its own rather than full fine-tuning's best approximation.",
        ]
      : []),
    `How fast either is elsewhere: time and memory are of this machine${parallel > 1 ? `, with ${parallel} runs beside each other` : ""}, other programs included in the time, and the memory includes the program and the model itself.`,
    "What other models, data or sizes would give.",
  ];
}

/** What full fine-tuning was told to train. */
function trainedInFull({ trainModules, trainLastLayers }: Setting["base"]): string {
  if (typeof trainLastLayers === "number") {
    return `the last ${plural(trainLastLayers, "layer")}, what follows, and the head`;
  }
  return trainModules === undefined || trainModules === null
    ? "all weights"
    : `the modules ${JSON.stringify(trainModules)} and the head`;
}

function facts(setting: Setting): (readonly [string, string])[] {
  const { base, examples, machine, versions, learningRates, methods, seeds } = setting;
  const { train, validation, test } = examples;
  const given = base["validationData"];
  return [
    [
      "Model",
      `${String(base["model"])} (${setting.modelType}, ${formatCount(setting.parameters)} parameters with the task's head)`,
    ],
    [
      "Task",
      `${setting.task}; the step with the best ${setting.keptBy} on the validation data is kept`,
    ],
    [
      "Training data",
      `${String(base["data"])}: ${plural(train, "example")}, at most ${setting.maxLength} tokens each`,
    ],
    [
      "Validation data",
      given === undefined
        ? `${plural(validation, "example")} of the training data, held out by the seed: the same for all methods`
        : `${String(given)}: ${plural(validation, "example")}`,
    ],
    [
      "Test data",
      test === undefined
        ? "none: metrics are of the validation data"
        : `${setting.testData}: ${plural(test, "example")}`,
    ],
    ["Seeds", seeds.join(", ")],
    ...(methods.includes("full")
      ? [
          [
            "Learning rate, full",
            `${formatTick(learningRates.full)}: full fine-tuning changes every weight directly and needs about a tenth of LoRA's`,
          ] as const,
          [
            "Full fine-tuning",
            `trains ${trainedInFull(base)}; its change ΔW is stored as ${String(base["saveDtype"] ?? "f32")}`,
          ] as const,
        ]
      : []),
    ...(methods.includes("lora")
      ? [
          ["Learning rate, LoRA", formatTick(learningRates.lora)] as const,
          [
            "LoRA",
            `ranks ${setting.ranks.join(", ")}; alpha ${String(base["loraAlpha"])} for all; adapted: ${plural(setting.matrices?.length ?? 0, "matrix")} (${JSON.stringify(base["targetModules"])})`,
          ] as const,
        ]
      : []),
    [
      "Training",
      `${base["steps"] === undefined ? plural(Number(base["epochs"]), "epoch") : plural(Number(base["steps"]), "step")}, batches of ${Number(base["batchSize"]) * Number(base["gradientAccumulation"])}, ${String(base["schedule"])} schedule`,
    ],
    [
      "Machine",
      `${machine.processor}, ${plural(machine.cores, "core")}, ${formatBytes(machine.memoryBytes)}, ${machine.platform}; device ${String(base["device"])}; ${setting.parallel === 1 ? "one run at a time" : `${setting.parallel} runs at a time`}`,
    ],
    [
      "Versions",
      `lowrank ${versions.lowrank}, Node ${versions.node}, ONNX Runtime ${versions.onnxRuntime}`,
    ],
  ];
}

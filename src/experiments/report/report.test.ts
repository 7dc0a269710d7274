import { expect, describe, it } from "vitest";
import { problemsOf } from "../../../test/html/well-formed.ts";
import type { Comparison, ComparisonRow } from "../comparison.ts";
import type { Variant } from "../plan.ts";
import type { Setting } from "../setting.ts";
import { spreadOf } from "../statistics.ts";
import { markup, scriptJson } from "./markup.ts";
import { reportOf } from "./report.ts";
import { formatSpread, formatTick } from "./words.ts";

const EVIL = `</script><script>alert("1")</script>&'`;

const FULL: Variant = { id: "full", method: "full" };
const LORA: Variant = { id: "lora-r2", method: "lora", rank: 2 };

function rowOf(variant: Variant, accuracies: readonly number[], failed = 0): ComparisonRow {
  const metrics: ComparisonRow["metrics"] =
    accuracies.length === 0 ? {} : { accuracy: spreadOf(accuracies), [EVIL]: spreadOf([NaN]) };
  const isDone = accuracies.length > 0;
  return {
    variant,
    trials: accuracies.length + failed,
    failed,
    metrics,
    validationMetrics: metrics,
    trainableParameters: isDone ? 100 : NaN,
    storedBytes: isDone ? 400 * (variant.rank ?? 100) : NaN,
    seconds: spreadOf(accuracies.map(() => 60)),
    peakMemoryBytes: spreadOf(accuracies.map(() => 1e9)),
    fullEnergyWithinRank: spreadOf(variant.rank === undefined ? [] : [0.8, 0.9]),
    rankOfHighShare: spreadOf(accuracies.map(() => 3)),
    energyWithin: [0.5, 0.8, 1].map((share) => spreadOf([share])),
  };
}

const comparison: Comparison = {
  rows: [rowOf(FULL, [0.96, 0.98]), rowOf(LORA, [0.95, 0.96], 1)],
  series: [FULL, LORA].map((variant) => ({
    variant,
    training: [0.7, 0.5, NaN, 0.2].map((loss, index) => ({ step: index + 1, loss })),
    validation: [{ step: 4, loss: 0.3 }],
    spectra:
      variant.rank === undefined
        ? [
            [3, 2, 1, 0.5],
            [2, 1, 0.1, 0],
          ]
        : [
            [4, 1],
            [1, 1e-20],
          ],
  })),
  failures: [{ id: "lora-r2-seed-3", error: EVIL }],
  matrices: [
    { name: "query.weight", shape: [4, 4], full: { norm: 3.7, energyWithin: [0.6, 0.9, 1] } },
    { name: EVIL, shape: [4, 8], full: { norm: 2.2, energyWithin: [0.7, 0.9, 1] } },
  ],
  energyRanks: [1, 2, 4],
};

const setting: Setting = {
  methods: ["full", "lora"],
  ranks: [2],
  seeds: [1, 2],
  base: {
    model: `models/${EVIL}`,
    data: "data/train.csv",
    epochs: 3,
    batchSize: 8,
    gradientAccumulation: 2,
    schedule: "linear",
    loraAlpha: 16,
    targetModules: EVIL,
    device: "cpu",
  },
  learningRates: { full: 5e-5, lora: 5e-4 },
  modelType: "bert",
  parameters: 22_713_986,
  task: "sequence-classification",
  metric: "accuracy",
  lowerIsBetter: false,
  keptBy: "macroF1",
  examples: { train: 900, validation: 100, test: 300 },
  testData: "test.csv",
  maxLength: 128,
  matrices: ["query.weight", EVIL],
  versions: { lowrank: "0.1.0", node: "v20", onnxRuntime: "1.30.0" },
  machine: { processor: "a processor", cores: 2, memoryBytes: 16e9, platform: "linux x64" },
  parallel: 1,
};

const textOf = (html: string): string =>
  html
    .replace(/<(script|style)[^]*?<\/\1>/g, "")
    .replace(/<[^>]+>/g, " ")
    .replace(/\s+/g, " ");

describe("markup", () => {
  it("escapes what is put into it, unless it is markup", () => {
    const inner = markup`<b>${"<i>"}</b>`;
    expect(markup`<p title="${'"'}">${[inner, undefined, 3, "a & b"]}</p>`.text).toBe(
      '<p title="&quot;"><b>&lt;i&gt;</b>3a &amp; b</p>',
    );
    expect(scriptJson(["</script>"]).text).toBe(String.raw`["\u003c/script>"]`);
  });
});

describe("the report", () => {
  const html = reportOf(comparison, setting);

  it("is well-formed, whatever names and messages hold", () => {
    expect(problemsOf(html)).toEqual([]);
    expect(html).not.toContain(`<script>alert`);
    expect(html.match(/<script/g)).toHaveLength(2);
  });

  it("needs nothing from elsewhere", () => {
    expect(html).not.toMatch(/https?:|\bsrc=|url\(|@import|<link|href=/);
  });

  it("has the numbers as text, and says how they came about", () => {
    const text = textOf(html);
    expect(text).toContain("Full fine-tuning reaches accuracy 0.9700 ± 0.0141 and stores 40.0 kB.");
    expect(text).toContain(
      "LoRA, rank 2 reaches accuracy 0.9550 ± 0.0071 and stores 800 B, 2.00 % of that.",
    );
    expect(text).toContain("85.0 ± 7.1 %");
    expect(text).toContain(
      "full fine-tuning changes every weight directly and needs about a tenth",
    );
    expect(text).toContain("alpha 16 for all");
    expect(text).toContain("Metrics are of 300 test examples");
    expect(text).toContain("3 epochs, batches of 16, linear schedule");
    expect(text).toContain(
      "a processor, 2 cores, 16.0 GB, linux x64; device cpu; one run at a time",
    );
    expect(text).toContain("Seeds 1, 2");
    expect(text).toContain("sample standard deviation over 2 seeds");
  });

  it("names runs that failed", () => {
    expect(textOf(html)).toContain("1 run failed and is in no number below:");
    expect(html).toContain("<code>lora-r2-seed-3</code>: &lt;/script&gt;");
    expect(html).toMatch(/<th scope="row">LoRA, rank 2<\/th><td>2 of 3<\/td>/);
  });

  it("has plots that say in words what they show", () => {
    const plots = [...html.matchAll(/<svg class="plot"[^]*?<\/svg>/g)].map(([svg]) => svg);
    expect(plots).toHaveLength(5);
    for (const svg of plots) {
      expect(svg).toMatch(/role="img" aria-labelledby="[\w-]+-title [\w-]+-desc"/);
      expect(svg).toContain("full fine-tuning");
      expect(svg).not.toMatch(/d="[^"]*NaN|(?:x|y|cx|cy)="NaN/);
    }
    expect(html.match(/<option>/g)).toHaveLength(3);
  });

  it("can be of LoRA alone, of trials that all failed, and of one seed", () => {
    const lora = reportOf(
      { ...comparison, rows: [rowOf(LORA, [0.9])], series: [comparison.series[1]!], failures: [] },
      { ...setting, methods: ["lora"], seeds: [1] },
    );
    expect(problemsOf(lora)).toEqual([]);
    expect(textOf(lora)).toContain("One seed, so that nothing tells differences from chance.");
    const none = reportOf(
      {
        rows: [rowOf(FULL, [], 2)],
        series: [{ variant: FULL, training: [], validation: [], spectra: [] }],
        failures: [{ id: "full-seed-1", error: "no memory" }],
        matrices: [],
        energyRanks: [],
      },
      setting,
    );
    expect(problemsOf(none)).toEqual([]);
    expect(none).not.toMatch(/(?:x|y|cx|cy)="NaN/);
    expect(textOf(none)).toContain("full-seed-1 : no memory");
  });
});

describe("numbers", () => {
  it("are written with their deviation, where there is one", () => {
    expect(formatSpread(spreadOf([0.5, 0.7]))).toBe("0.6000 ± 0.1414");
    expect(formatSpread(spreadOf([0.5]))).toBe("0.5000");
    expect(formatSpread(spreadOf([]))).toBe("–");
    expect(formatSpread(spreadOf([0.5, NaN]))).toBe("NaN");
  });

  it("are short beside axes", () => {
    expect([0, 0.02, 2e-5, 1000, 1e6].map(formatTick)).toEqual([
      "0",
      "0.02",
      "2e-5",
      "1000",
      "1e6",
    ]);
  });
});

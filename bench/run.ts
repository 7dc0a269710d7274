/** @file `npm run bench [-- --only gpt2|full|minilm|wnut17|banking77|restaurant8k --rounds N --epochs N --seeds 1,2,3
 * --python PATH]`: our programs and the peers' in turn, each in a process of its own, and the ratios between them. The
 * peers' Python environment is described in bench/peers/README.md. */
import { execFile } from "node:child_process";
import { cpus } from "node:os";
import { parseArgs, promisify } from "node:util";

const { values: options } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    rounds: { type: "string", default: "3" },
    epochs: { type: "string", default: "5" },
    steps: { type: "string", default: "6" },
    seeds: { type: "string", default: "123" },
    python: { type: "string", default: ".venv-peers/bin/python" },
  },
});

interface Program {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
}

/** What a program's JSON says, in the units that are compared. */
interface Measurement {
  readonly seconds: number;
  readonly peakBytes: number;
  readonly note: string;
}

interface Benchmark {
  readonly name: string;
  readonly unit: string;
  /** The first is ours. */
  readonly programs: readonly Program[];
  readonly rounds: number;
  read(document: any): Measurement;
}

const { python } = options;
const ours = (script: string, ...rest: string[]): Program => ({
  name: "lowrank",
  command: [process.execPath, "--import", "tsx", `bench/${script}`, ...rest],
});
const peer = (name: string, script: string, ...rest: string[]): Program => ({
  name,
  command: [python, `bench/peers/${script}`, ...rest],
});

/** One step of GPT-2 124M. */
function gpt2Step(name: string, method: "lora" | "full"): Benchmark {
  const flags = ["--steps", options.steps, "--warmup", "2", "--method", method];
  const what = method === "lora" ? "LoRA on every linear layer" : "all weights trained";
  return {
    name,
    unit: `GPT-2 124M, ${what}, one step of 8 x 120 tokens`,
    programs: [
      ours("gpt2-step.ts", ...flags),
      peer("PyTorch", "gpt2_step.py", "--peer", "torch", ...flags),
      peer("transformers + PEFT", "gpt2_step.py", "--peer", "peft", ...flags),
    ],
    rounds: Number(options.rounds),
    read: (document) => ({
      seconds: document.median_ms / 1000,
      peakBytes: document.peak_rss_bytes,
      note: `last loss ${document.losses.at(-1).toFixed(3)}`,
    }),
  };
}

/** A task on real data, for each seed: two epochs with LoRA r = 16 at 1e-3. `quality` reads what was measured after training. */
function realData(
  name: string,
  [our, its]: readonly [string, string],
  data: readonly string[],
  quality: (after: any) => string,
): Benchmark[] {
  return options.seeds.split(",").map((seed) => {
    const flags = ["--epochs", "2", "--seed", seed, ...data];
    return {
      name,
      unit: `all-MiniLM-L6-v2 on ${name}, whole run of 2 epochs, seed ${seed}`,
      programs: [ours(our, ...flags), peer("transformers + PEFT", its, ...flags)],
      rounds: 1,
      read: (document) => ({
        seconds: document.load_and_run_seconds,
        peakBytes: document.peak_rss_bytes,
        note: `${document.train_seconds.toFixed(1)} s training, ${quality(document.after)}`,
      }),
    };
  });
}

const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;
/** Of the peers, SQuAD's measures are in percent. */
const share = (value: number): number => (value > 1 ? value / 100 : value);
const strictF1 = (split: any): string => percent(split.strictF1 ?? split.strict.f1);
/** What bench/peers/restaurant8k_to_squad.py writes. */
const QUESTIONS = ["--data", "runs/restaurant8k-squad"];

const benchmarks: Benchmark[] = [
  gpt2Step("gpt2", "lora"),
  gpt2Step("full", "full"),
  ...options.seeds.split(",").map((seed): Benchmark => {
    const run = ["--epochs", options.epochs, "--seed", seed];
    return {
      name: "minilm",
      unit: `all-MiniLM-L6-v2 on SMS spam, whole run of ${options.epochs} epochs, seed ${seed}`,
      programs: [
        ours("minilm-sms.ts", ...run),
        peer("transformers + PEFT", "minilm_sms.py", ...run),
      ],
      rounds: 1,
      read: (document) => ({
        seconds: document.load_and_run_seconds ?? document.run_seconds,
        peakBytes: document.peak_rss_bytes,
        note: `${document.train_seconds.toFixed(1)} s training, test accuracy ${testAccuracy(document)}`,
      }),
    };
  }),
  ...realData("wnut17", ["ner-wnut17.ts", "ner_wnut17.py"], [], ({ dev, test }) => {
    return `strict F1 dev ${strictF1(dev)}, test ${strictF1(test)}`;
  }),
  ...realData(
    "restaurant8k",
    ["span-restaurant8k.ts", "span_restaurant8k.py"],
    QUESTIONS,
    ({ test }) => {
      const { exact = test.exactMatch, f1 } = test;
      return `exact match ${percent(share(exact))}, F1 ${percent(share(f1))}`;
    },
  ),
  ...realData(
    "banking77",
    ["intent-banking77.ts", "intent_banking77.py"],
    [],
    ({ test }) => `test accuracy ${percent(typeof test === "number" ? test : test.accuracy)}`,
  ),
];

function testAccuracy(document: any): string {
  const after = document.accuracy_after ?? document.after;
  const test = typeof after.test === "number" ? after.test : after.test.accuracy;
  return `${(100 * test).toFixed(1)} %`;
}

const run = promisify(execFile);
console.log(`${cpus()[0]?.model.trim()}, ${cpus().length} cores, Node ${process.version}`);
for (const benchmark of benchmarks) {
  if (!benchmark.name.includes(options.only)) continue;
  console.log(`\n${benchmark.unit}`);
  const measured = benchmark.programs.map((): Measurement[] => []);
  for (let round = 0; round < benchmark.rounds; round++) {
    for (const [index, { name, command }] of benchmark.programs.entries()) {
      const [file, ...rest] = command;
      const { stdout } = await run(file, rest, { maxBuffer: 2 ** 26 });
      const measurement = benchmark.read(JSON.parse(stdout));
      measured[index]!.push(measurement);
      const { seconds, peakBytes, note } = measurement;
      console.log(`  ${name.padEnd(20)} ${seconds.toFixed(3)} s  ${gigabytes(peakBytes)}  ${note}`);
    }
  }
  for (const [index, { name }] of benchmark.programs.entries()) {
    if (index === 0) continue;
    const ratios = measured[index]!.map(({ seconds }, i) => seconds / measured[0]![i]!.seconds);
    const memory = measured[index]!.map(
      ({ peakBytes }, i) => measured[0]![i]!.peakBytes / peakBytes,
    );
    console.log(
      `  ${name}: ${median(ratios).toFixed(2)} x our time (${ratios.map((r) => r.toFixed(2)).join(", ")}); ` +
        `our peak memory is ${(100 * median(memory)).toFixed(0)} % of its`,
    );
  }
}

function gigabytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

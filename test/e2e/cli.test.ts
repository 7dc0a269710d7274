/** @file The built program as a user runs it, on a tiny model. */
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { COMMANDS } from "../../src/cli/command.ts";
import { sentimentRows, writeTinyModel } from "../tiny-model.ts";

const PROGRAM = join(import.meta.dirname, "../../dist/cli/main.js");

let root: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "cli-"));
  await writeTinyModel(join(root, "bert"), { family: "bert" });
  for (const [name, count, seed] of [
    ["train.csv", 60, 1],
    ["test.csv", 20, 2],
  ] as const) {
    const rows = sentimentRows(count, seed).map(({ text, label }) => `${text},${label}`);
    writeFileSync(join(root, name), `text,label\n${rows.join("\n")}\n`);
  }
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(args: readonly string[]): ChildProcessWithoutNullStreams {
  const env = { ...process.env, NO_COLOR: "1", LOWRANK_DEBUG: "" };
  return spawn(process.execPath, [PROGRAM, ...args], { cwd: root, env });
}

function finish(child: ChildProcessWithoutNullStreams): Promise<Result> {
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (data) => (stdout += data));
  child.stderr.on("data", (data) => (stderr += data));
  return new Promise((resolve) => {
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}

/** Run a command line; arguments with spaces come as separate ones. */
function lowrank(
  line: string,
  { more = [], stdin = "" }: { more?: string[]; stdin?: string | Buffer } = {},
) {
  const child = start([...line.split(" ").filter(Boolean), ...more]);
  child.stdin.end(stdin);
  return finish(child);
}

const TRAIN = "train --model bert --data train.csv --threads 1 --rank 4";

describe("help", () => {
  it("lists all commands with examples", async () => {
    const { code, stdout, stderr } = await lowrank("--help");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const { name, summary } of COMMANDS) {
      expect(stdout).toMatch(new RegExp(`^  ${name} +${summary.slice(0, 20)}`, "m"));
    }
    expect(stdout).toContain("\nExamples:\n  lowrank train ");
  });

  it.each(COMMANDS.map(({ name }) => name))("explains %s", async (name) => {
    const { code, stdout } = await lowrank(`${name} --help`);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`^Usage: lowrank ${name} `));
    expect(stdout).toContain(`\nExamples:\n  lowrank ${name}`);
    expect(stdout).toContain("Exit codes: 0 success, 1 failure, 2 wrong usage.");
    expect((await lowrank(`help ${name}`)).stdout).toBe(stdout);
  });

  it("shows types, defaults and headings of train's flags", async () => {
    const { stdout } = await lowrank("train --help");
    expect(stdout).toMatch(/^ {2}-r, --rank <integer> +Rank of the adapters \(default: 16\)$/m);
    expect(stdout).toMatch(/^ {2}--device <cpu\|webgpu\|cuda\|auto>/m);
    const headings = ["Model and data:", "Training:", "Adapter:", "Options:", "Examples:"];
    expect(stdout.split("\n").filter((line) => headings.includes(line))).toEqual(headings);
  });

  it("shows the version", async () => {
    const { version } = JSON.parse(
      readFileSync(join(import.meta.dirname, "../../package.json"), "utf8"),
    );
    expect((await lowrank("--version")).stdout).toBe(`${version}\n`);
  });
});

describe("wrong usage", () => {
  it.each([
    ["", /^Usage: lowrank/],
    ["tarin", /^lowrank: unknown command 'tarin'\. Did you mean train\?$/m],
    ["train --modle bert", /^lowrank: unknown option '--modle'\. Did you mean --model\?$/m],
    ["train --model", /^lowrank: option '--model <dir>' argument missing\.$/m],
    ["train --data train.csv --output o", /^lowrank: --model is missing: .*npm install/],
    ["train --model bert --data train.csv", /^lowrank: --output is missing/],
    [`${TRAIN} -o o --epochs 0`, /^lowrank: --epochs: expected a number above 0, got 0\.$/m],
    [`${TRAIN} -o o --max-length 900`, /^lowrank: --max-length: the model takes at most 32 tokens/],
    [`${TRAIN} -o o --task chess`, /^lowrank: --task: there is no task "chess"/],
    ["predict --adapter o --text a --input b", /^lowrank: --text and --input: expected one/],
    ["inspect", /^lowrank: --model and --adapter are missing/],
    ...["10", "0MB", "0.1B", "5TB"].map((size): [string, RegExp] => [
      `merge --adapter o --output p --max-shard-size=${size}`,
      /^lowrank: --max-shard-size: expected a size with its unit \(B, KB, MB, GB\), such as 500MB, got "/,
    ]),
    ["help tarin", /^lowrank: unknown command 'tarin'\. Did you mean train\?$/m],
    ["train bert", /^lowrank: train: expected flags and their values, got "bert" beside them\./],
    [
      `${TRAIN} -o o --data b.csv`,
      /^lowrank: --data: expected one value, got "train\.csv" and "b\.csv"\.$/m,
    ],
    [
      `${TRAIN} -o o --lr 1e-3 --learning-rate 2e-3`,
      /^lowrank: --learning-rate: expected one value/,
    ],
  ])("%s", async (line, message) => {
    const { code, stdout, stderr } = await lowrank(line);
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });
});

describe("failures", () => {
  it.each([
    ["train --model none --data train.csv -o o", /^lowrank: none\/config\.json: cannot read /],
    ["train --model bert --data none.csv -o o", /^lowrank: none\.csv: there is no such file/],
    [
      "evaluate --adapter none --data test.csv",
      /^lowrank: none: expected a change .*, an adapter .* or a model .*, got none of them\./,
    ],
    [`${TRAIN} -o .`, /^lowrank: \.: expected a new or empty output directory/],
    [`${TRAIN} -o o --text-column body`, /train\.csv: no text column "body"/],
    [
      `${TRAIN} -o o --dump-graph no/such/graph.txt`,
      /^lowrank: no\/such: cannot write graph\.txt into it, it does not exist\. Check the path\.$/m,
    ],
  ])("%s", async (line, message) => {
    const { code, stdout, stderr } = await lowrank(line);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain("    at ");
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(readdirSync(root).sort()).toEqual(["bert", "test.csv", "train.csv"]);
  });
});

describe("a run", () => {
  it("trains, evaluates, predicts and inspects", async () => {
    const trained = await lowrank(`${TRAIN} -o out --lr 0.02 --steps 60 --dump-graph graph.txt`);
    expect(trained).toMatchObject({ code: 0 });
    expect(trained.stderr).toMatch(/^step 60\/60, /m);
    expect(trained.stdout).toMatch(/^adapter +out \(/);
    expect(trained.stdout).toContain('lowrank predict --adapter out --text "..."');
    expect(readFileSync(join(root, "graph.txt"), "utf8")).toMatch(
      /^%bert\.[^\n]* = input\n[^]*\nreturn loss=%\d+, grad_norm=/,
    );

    const evaluated = await lowrank("evaluate --adapter out --data test.csv --json");
    expect(evaluated).toMatchObject({ code: 0, stderr: "" });
    const { metrics } = JSON.parse(evaluated.stdout);
    const shown = await lowrank("evaluate --adapter out --data test.csv");
    expect(shown.stdout).toMatch(new RegExp(`^accuracy +${metrics.accuracy.toFixed(4)}$`, "m"));
    expect(shown.stdout).toContain("Confusion matrix");

    const predicted = await lowrank("predict --adapter out --input test.csv");
    expect(predicted.stderr).toBe("");
    const lines = predicted.stdout.trimEnd().split("\n");
    const labels = sentimentRows(20, 2).map(({ label }) => label);
    expect(lines.map((line) => /^(good|bad)\t[01]\.\d{4}$/.test(line))).toEqual(
      labels.map(() => true),
    );
    const right = lines.filter((line, i) => line.startsWith(labels[i]!)).length;
    expect(right / 20).toBeCloseTo(metrics.accuracy, 10);

    const more = ["--text", "a good film", "--text", "bad"];
    const both = JSON.parse((await lowrank("predict --adapter out --json", { more })).stdout);
    expect(both).toMatchObject([{ text: "a good film" }, { text: "bad" }]);
    const stdin = "\ufeffa good film\nbad\n";
    expect(JSON.parse((await lowrank("predict --adapter out --json", { stdin })).stdout)).toEqual(
      both,
    );
    const latin1 = await lowrank("predict --adapter out", {
      stdin: Buffer.from("a\ncaf\xe9\n", "latin1"),
    });
    expect(latin1).toMatchObject({ code: 1, stdout: "" });
    expect(latin1.stderr).toMatch(
      /^lowrank: stdin: line 2: expected UTF-8 text, got bytes of another/,
    );

    const inspected = await lowrank("inspect --adapter out");
    expect(inspected.stdout).toMatch(/^BertForSequenceClassification\(/);
    expect(inspected.stdout).toMatch(
      /^ {2}2 x bert\.encoder\.layer\.\*\.attention\.self\.query +16 x 16 +4 /m,
    );
    const info = JSON.parse((await lowrank("inspect --adapter out --model bert --json")).stdout);
    expect(info.adapter.bytes).toBe(4 * info.trainableParameters);
    expect(info.adapter.changed).toHaveLength(13);
    const base = JSON.parse((await lowrank("inspect --model bert --json")).stdout);
    expect(info.parameters).toBe(base.checkpoint.parameters + info.trainableParameters);
  });

  it("inspects a language model as one", async () => {
    await writeTinyModel(join(root, "gpt2"), { family: "gpt2", task: "CAUSAL_LM" });
    const { stdout } = await lowrank("inspect --model gpt2");
    expect(stdout).toMatch(/^GPT2LMHeadModel\([^]*\(lm_head\): Linear[^]*^new head +none$/m);
  });

  it("prints one JSON document", async () => {
    const { stdout, stderr } = await lowrank(`${TRAIN} -o json --steps 2 --json --quiet`);
    expect(JSON.parse(stdout)).toMatchObject({
      model: "bert",
      result: { reason: "completed", steps: 2, metrics: { scalars: { loss: expect.any(Number) } } },
    });
    expect(stderr).toBe("");
  });

  it("warns of the data, also where it is told to be quiet", async () => {
    writeFileSync(join(root, "near.csv"), "text,label\na,good\nb,Good\nc,good \nd,bad\n");
    const { code, stderr } = await lowrank(
      "train --model bert --data near.csv --steps 1 --threads 1 --validation-split 0 -o near --quiet",
    );
    expect(code).toBe(0);
    expect(stderr).toBe(
      'warning: near.csv: column "label": labels that differ only in case or blanks are labels of their own: ' +
        '"Good", "good", "good ". Write them alike if they mean the same.\n',
    );
  });

  it("takes options from a file, below flags", async () => {
    writeFileSync(
      join(root, "run.yaml"),
      "model: bert\ndata: train.csv\noutput: configured\nlearning_rate: 0.01\nsteps: 50\nrank: 2\n",
    );
    const { code, stdout } = await lowrank("train --config run.yaml --steps 1 --threads 1 --json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ totalSteps: 1 });
    const manifest = JSON.parse(readFileSync(join(root, "configured/lowrank.json"), "utf8"));
    expect(manifest.options).toMatchObject({ learningRate: 0.01, r: 2, steps: 1 });
  });

  it("ends quietly when nobody reads its output", async () => {
    writeFileSync(join(root, "many.txt"), "a good film\n".repeat(20_000));
    const child = start(["predict", "--adapter", "out", "--json"]);
    child.stdout.once("data", () => child.stdout.destroy());
    child.stdin.end(readFileSync(join(root, "many.txt")));
    expect(await finish(child)).toMatchObject({ code: 0, stderr: "" });
  });
});

/** A run that is at work. */
const running = (output: string) => evaluated(`${TRAIN} --epochs 100000 -o ${output}`);

/** A program that has evaluated once. */
async function evaluated(args: string): Promise<[ChildProcessWithoutNullStreams, Promise<Result>]> {
  const child = start(args.split(" "));
  const finished = finish(child);
  await new Promise<void>((resolve) => {
    child.stderr.on("data", (data) => {
      if (String(data).includes("evaluation at step")) resolve();
    });
  });
  return [child, finished];
}

describe("Ctrl-C", () => {
  it("saves after the step, and says how to go on", async () => {
    const [child, finished] = await running("stopped");
    child.kill("SIGINT");
    const { code, stdout, stderr } = await finished;
    expect(code).toBe(0);
    expect(stderr).toContain("Finishing this step, then saving. Press Ctrl-C again");
    expect(stdout).toContain("(aborted)");
    expect(stdout).toContain("lowrank predict --adapter stopped");
    const more = ["--text", "good"];
    expect((await lowrank("predict --adapter stopped", { more })).stdout).toMatch(/^(good|bad)\t/);

    expect(stdout).toContain("lowrank resume --from stopped");
    const steps = Number(/trained +(\d+) of/.exec(stdout)![1]);
    const [again, ended] = await evaluated("resume --from stopped");
    again.kill("SIGINT");
    const result = await ended;
    expect(result.stderr).toContain(`going on after step ${steps}, `);
    expect(Number(/trained +(\d+) of/.exec(result.stdout)![1])).toBeGreaterThan(steps);
  });

  it("ends at once when pressed again", async () => {
    const [child, finished] = await running("killed");
    child.stderr.on("data", (data) => {
      if (String(data).includes("Press Ctrl-C again")) child.kill("SIGINT");
    });
    child.kill("SIGINT");
    await finished;
    // It may have been faster with saving; what never stays is half of it.
    expect(child.signalCode ?? existsSync(join(root, "killed"))).toBeTruthy();
    expect(readdirSync(root).filter((name) => name.includes(".tmp-"))).toEqual([]);
  });
});

it("examines the machine", async () => {
  const { code, stdout } = await lowrank("doctor --threads 1 --json");
  expect(code).toBe(0);
  const info = JSON.parse(stdout);
  expect(info).toMatchObject({ node: process.version, devices: { cpu: { works: true } } });
  for (const { gflops } of info.matrixMultiplication) expect(gflops).toBeGreaterThan(0);
});

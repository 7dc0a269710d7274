/** @file lowrank doctor: what this machine offers. The rate of its matrix multiplications is what a
 * training step is measured against. */
import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import { z } from "zod";
import { input } from "../../graph/leaves.ts";
import { matmul } from "../../ops/matmul.ts";
import { compile } from "../../runtime/compile.ts";
import { Engine } from "../../runtime/engine.ts";
import { PROVIDERS } from "../../onnx/providers.ts";
import { trainOptionsSchema } from "../../train/options.ts";
import { libraryVersion } from "../../version.ts";
import { defineCommand } from "../command.ts";
import { whyUnavailable } from "../device.ts";
import { alignRows, formatBytes, note, print, printJson } from "../terminal.ts";

const schema = z.strictObject({
  threads: trainOptionsSchema.shape.threads,
  json: z.boolean().default(false).describe("Print the result as one JSON document"),
});

export const doctor = defineCommand({
  description:
    "Show versions, processor and memory, which devices work, and the measured rate of float32 matrix " +
    "multiplications (takes a few seconds; other programs make it lower).",
  schema,
  examples: ["lowrank doctor", "lowrank doctor --threads 1 --json"],
  async run({ threads, json }) {
    note("measuring, a few seconds …");
    const info = await examine(threads);
    if (json) printJson(info);
    else print(report(info));
  },
});

/** Shapes [rows, inner] x [inner, columns] as they occur in models. */
const PRODUCTS = [
  { rows: 1, inner: 768, columns: 3072, what: "one token, decoding" },
  { rows: 128, inner: 384, columns: 1536, what: "a short batch of a small model" },
  { rows: 1024, inner: 768, columns: 3072, what: "a batch of GPT-2" },
  { rows: 2048, inner: 2048, columns: 2048, what: "large" },
] as const;

const MEASURE_MS = 400;
const MIN_RUNS = 5;

interface Rate {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  readonly what: string;
  /** Of the fastest run: the others tell what else the machine was doing. */
  readonly gflops: number;
}

interface DoctorInfo {
  readonly lowrank: string;
  readonly node: string;
  readonly platform: string;
  readonly onnxRuntime: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: { readonly total: number; readonly free: number };
  /** By device: whether it works, and why not. */
  readonly devices: Readonly<Record<string, { readonly works: boolean; readonly reason?: string }>>;
  readonly threads: number;
  readonly matrixMultiplication: readonly Rate[];
}

async function examine(threads: number): Promise<DoctorInfo> {
  const engine = await Engine.start({ threads });
  try {
    const matrixMultiplication: Rate[] = [];
    for (const product of PRODUCTS) {
      matrixMultiplication.push({ ...product, gflops: await measure(engine, product) });
    }
    return {
      lowrank: libraryVersion(),
      node: process.version,
      platform: `${process.platform} ${process.arch}`,
      onnxRuntime: engine.version,
      processor: cpus()[0]?.model.trim() ?? "unknown",
      cores: availableParallelism(),
      memoryBytes: { total: totalmem(), free: freemem() },
      devices: await examineDevices(),
      threads,
      matrixMultiplication,
    };
  } finally {
    await engine.close();
  }
}

async function examineDevices(): Promise<DoctorInfo["devices"]> {
  const devices: Record<string, { works: boolean; reason?: string }> = {};
  for (const device of PROVIDERS) {
    const reason = await whyUnavailable(device);
    devices[device] = reason === undefined ? { works: true } : { works: false, reason };
  }
  return devices;
}

/** 10⁹ floating point operations a second. */
async function measure(
  engine: Engine,
  { rows, inner, columns }: (typeof PRODUCTS)[number],
): Promise<number> {
  const program = await compile(engine, {
    outputs: {
      product: matmul(
        input("a", "float32", [rows, inner]),
        input("b", "float32", [inner, columns]),
      ),
    },
  });
  for (const [name, shape] of [
    ["a", [rows, inner]],
    ["b", [inner, columns]],
    ["c", [rows, columns]],
  ] as const) {
    const data = new Float32Array(shape[0] * shape[1]).fill(0.5);
    await engine.put(name, { dtype: "float32", shape, data });
  }
  let best = Infinity;
  const started = performance.now();
  for (let run = 0; run < MIN_RUNS || performance.now() - started < MEASURE_MS; run++) {
    const { elapsedMs } = await engine.run(program, { updates: { product: "c" } });
    best = Math.min(best, elapsedMs);
  }
  await engine.release(program);
  return (2 * rows * inner * columns) / best / 1e6;
}

function report(info: DoctorInfo): string {
  const { total, free } = info.memoryBytes;
  const devices = Object.entries(info.devices).map(([name, { works, reason }]) => [
    name,
    works ? "works" : `no: ${reason}`,
  ]);
  const rates = info.matrixMultiplication.map(({ rows, inner, columns, what, gflops }) => [
    `[${rows}, ${inner}] x [${inner}, ${columns}]`,
    `${gflops.toFixed(0)} GFLOP/s`,
    what,
  ]);
  return [
    alignRows([
      ["lowrank", info.lowrank],
      ["Node", `${info.node} on ${info.platform}`],
      ["ONNX Runtime", info.onnxRuntime],
      ["processor", `${info.processor}, ${info.cores} cores`],
      ["memory", `${formatBytes(total)}, ${formatBytes(free)} free`],
    ]),
    `Devices\n${alignRows(devices, "  ")}`,
    `Matrix multiplication, float32, CPU\n${alignRows(rates, "  ")}`,
  ].join("\n\n");
}

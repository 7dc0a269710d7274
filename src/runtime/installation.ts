/** @file What this machine's ONNX Runtime offers, and whether it works. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import * as ort from "onnxruntime-node";
import { input } from "../graph/leaves.ts";
import { lower } from "../onnx/lower.ts";
import { provider } from "../onnx/providers.ts";
import { matmul } from "../ops/matmul.ts";
import type { Installation } from "./device.ts";
import type { Device } from "./protocol.ts";

/** Where onnxruntime-node keeps its libraries for Linux on x64, seen from its package. */
const CUDA_LIBRARY = "bin/napi-v6/linux/x64/libonnxruntime_providers_cuda.so";

export function installation(): Installation {
  const main = createRequire(import.meta.url).resolve("onnxruntime-node");
  return {
    platform: process.platform,
    arch: process.arch,
    providers: ort.listSupportedBackends().map(({ name }) => name),
    hasCudaLibrary: existsSync(join(dirname(main), "..", CUDA_LIBRARY)),
    try: multiply,
  };
}

/** One product of two matrices. */
async function multiply(name: Device): Promise<void> {
  const shape = [2, 2];
  const x = input("x", "float32", shape);
  const { bytes } = lower({ outputs: { y: matmul(x, x) } }, { provider: provider(name) });
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: [name],
    logSeverityLevel: 4,
  });
  const results = await session.run({
    x: new ort.Tensor("float32", Float32Array.of(1, 2, 3, 4), shape),
  });
  await session.release();
  const product = [...(results["y"]!.data as Float32Array)];
  if (product.join() !== "7,10,15,22")
    throw new Error(`a product of matrices came out as ${product}`);
}

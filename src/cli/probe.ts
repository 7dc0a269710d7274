/** @file A process that tries a device with a small multiplication: exit code 0 when it works, else why
 * not on stdout. Started by device.ts. */
import { input } from "../graph/leaves.ts";
import { matmul } from "../ops/matmul.ts";
import { compile } from "../runtime/compile.ts";
import { Engine } from "../runtime/engine.ts";
import type { Device } from "../runtime/protocol.ts";

const SIZE = 8;

try {
  const engine = await Engine.start({ device: process.argv[2] as Device });
  const shape = [SIZE, SIZE];
  const graph = {
    outputs: { y: matmul(input("x", "float32", shape), input("x", "float32", shape)) },
  };
  const program = await compile(engine, graph);
  const x = { dtype: "float32", shape, data: new Float32Array(SIZE * SIZE).fill(1) } as const;
  const { outputs } = await engine.run(program, { feeds: { x }, fetch: ["y"] });
  const value = outputs["y"]?.data[0];
  if (value !== SIZE) throw new Error(`a multiplication gave ${value}, expected ${SIZE}`);
  await engine.close();
} catch (error) {
  process.stdout.write((error as Error).message);
  process.exitCode = 1;
}

/** @file The engine's own side, in this thread: what a run leaves in memory. */
import { expect, test } from "vitest";
import { input } from "../graph/leaves.ts";
import { lower } from "../onnx/lower.ts";
import { provider } from "../onnx/providers.ts";
import { add, mul } from "../ops/elementwise.ts";
import { createHost } from "./host.ts";

test("a run that keeps its results takes no memory for them, and returns what is asked for", async () => {
  const length = 2 ** 22;
  const [state, moment] = ["state", "moment"].map((name) => input(name, "float32", [length]));
  const x = input("x", "float32", []);
  const graph = {
    outputs: { next: mul(state!, x), held: add(moment!, 1), y: mul(x, 2) },
  };
  const { bytes, inputs, outputs } = lower(graph, { provider: provider("cpu") });
  const host = createHost();
  await host.start({ device: "cpu", allowFallback: false, threads: 1 });
  for (const name of ["state", "moment"]) {
    const data = new Float32Array(length).fill(1);
    await host.put({ name, tensor: { dtype: "float32", shape: [length], data } });
  }
  const names = Object.keys(inputs);
  const { program } = await host.compile({ bytes, inputs: names, outputs, weights: [] });
  const run = async (value: number): Promise<number> => {
    const feeds = { x: { dtype: "float32" as const, shape: [], data: Float32Array.of(value) } };
    const [updates, writes] = [{ next: "state" }, { held: "moment" }];
    const answer = await host.run({ program, feeds, reads: {}, updates, writes, fetch: ["y"] });
    return answer.outputs["y"]!.data[0] as number;
  };
  // The first run makes the second buffer of what is updated.
  expect(await run(2)).toBe(4);
  const before = process.memoryUsage().arrayBuffers;
  expect(await run(3)).toBe(6);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(length);
  expect((await host.get({ name: "state" })).data[length - 1]).toBe(6);
  expect((await host.get({ name: "moment" })).data[length - 1]).toBe(3);
  await host.release({ program });
});

import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { evaluate, float32, spread } from "../../test/run-graph.ts";
import { input } from "../graph/leaves.ts";
import type { Tensor } from "../graph/node.ts";
import { add, mul } from "../ops/elementwise.ts";
import { matmul } from "../ops/matmul.ts";
import { reshape } from "../ops/movement.ts";
import { compile } from "./compile.ts";
import { Engine, sizeBytes } from "./engine.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.start({ threads: 1 });
});
afterAll(() => engine.close());

const x = input("x", "float32", [2]);
const state = input("state", "float32", [2]);
const ask = { fetch: ["y"] };

/** Products that take a second. */
const SIDE = 1024;
const factor = input("a", "float32", [SIDE, SIDE]);
const slow = {
  outputs: { y: Array.from({ length: 20 }).reduce<Tensor>((y) => matmul(y, factor), factor) },
};
const a = spread([SIDE, SIDE]);
const DIST = new URL("../../dist/index.js", import.meta.url).href;

describe("an engine", () => {
  test("computes fed values; stored ones are read by their input's name", async () => {
    const program = await compile(engine, { outputs: { y: add(x, state) } });
    await engine.put("state", float32([2], [10, 20]));
    const first = await engine.run(program, { ...ask, feeds: { x: float32([2], [1, 2]) } });
    expect(first.outputs["y"]).toEqual(float32([2], [11, 22]));
    expect(first.elapsedMs).toBeGreaterThan(0);
    const fed = { x: float32([2], [1, 2]), state: float32([2], [0, 0]) };
    const second = await engine.run(program, { ...ask, feeds: fed });
    expect(second.outputs["y"]).toEqual(float32([2], [1, 2]));
    expect(await engine.get("state")).toEqual(float32([2], [10, 20]));
  });

  test("copies what it is fed: the caller keeps the buffers", async () => {
    const data = float32([2], [1, 2]);
    await evaluate(engine, { outputs: { y: add(x, x) } }, { x: data });
    expect([...data.data]).toEqual([1, 2]);
  });

  test("updates its store in turns, never writing what a run reads", async () => {
    const step = { outputs: { next: mul(state, 2), y: add(state, 0.5) } };
    const program = await compile(engine, step);
    await engine.put("state", float32([2], [1, 3]));
    const seen = [];
    for (let i = 0; i < 5; i++) {
      const { outputs } = await engine.run(program, { ...ask, updates: { next: "state" } });
      seen.push([...outputs["y"]!.data]);
    }
    expect(seen).toEqual([1, 2, 4, 8, 16].map((factor) => [factor + 0.5, 3 * factor + 0.5]));
    expect(await engine.get("state")).toEqual(float32([2], [32, 96]));
  });

  test("a value that was taken out does not change with later updates", async () => {
    const program = await compile(engine, { outputs: { next: add(state, 1) } });
    await engine.put("state", float32([2], [0, 0]));
    const before = await engine.get("state");
    for (let i = 0; i < 3; i++) await engine.run(program, { updates: { next: "state" } });
    expect([...before.data]).toEqual([0, 0]);
  });

  test("views name parts of a vector and follow its updates", async () => {
    const vector = input("vector", "float32", [6]);
    const part = input("part", "float32", [2, 2]);
    await engine.put("vector", float32([6], [0, 1, 2, 3, 4, 5]));
    await engine.view("part", { of: "vector", offset: 1, shape: [2, 2] });
    expect(await engine.get("part")).toEqual(float32([2, 2], [1, 2, 3, 4]));
    const program = await compile(engine, {
      outputs: { next: mul(vector, 10), y: reshape(part, [4]) },
    });
    const runs = [];
    for (let i = 0; i < 3; i++) {
      const { outputs } = await engine.run(program, { ...ask, updates: { next: "vector" } });
      runs.push([...outputs["y"]!.data]);
    }
    expect(runs).toEqual([
      [1, 2, 3, 4],
      [10, 20, 30, 40],
      [100, 200, 300, 400],
    ]);
    expect([...(await engine.get("part")).data]).toEqual([1000, 2000, 3000, 4000]);
    await engine.view("part", { of: "vector", offset: 4, shape: [2] });
    expect([...(await engine.get("part")).data]).toEqual([4000, 5000]);
    // A name is either a tensor or a view.
    await engine.put("part", float32([2, 2], [9, 9, 9, 9]));
    expect([...(await engine.get("part")).data]).toEqual([9, 9, 9, 9]);
  });

  test("a part of a larger buffer is put as that part", async () => {
    const data = new Float32Array([1, 2, 3, 4]).subarray(1, 3);
    await engine.put("state", { dtype: "float32", shape: [2], data });
    expect([...(await engine.get("state")).data]).toEqual([2, 3]);
    expect(data.length).toBe(2);
  });

  test("runs requests in order, without waiting for each", async () => {
    const program = await compile(engine, { outputs: { next: add(mul(state, 2), 1) } });
    await engine.put("state", float32([2], [0, 0]));
    const all = Array.from({ length: 6 }, () =>
      engine.run(program, { updates: { next: "state" } }),
    );
    await Promise.all(all);
    expect([...(await engine.get("state")).data]).toEqual([63, 63]);
  });

  test("bytes of a tensor", () => {
    expect(sizeBytes({ dtype: "float32", shape: [3, 4] })).toBe(48);
    expect(sizeBytes({ dtype: "bool", shape: [] })).toBe(1);
  });
});

describe("errors", () => {
  test("name what is missing or does not fit", async () => {
    const lost = input("lost", "float32", [2]);
    const program = await compile(engine, { outputs: { y: add(x, lost) } });
    const feeds = { x: float32([2], [1, 2]) };
    await expect(engine.run(program, { ...ask, feeds })).rejects.toMatchObject({
      code: "runtime",
      message:
        'no tensor named "lost" has been given to the engine. Give it first: a model\'s by loadParameters, before compile.',
    });
    const short = { x: float32([1], [1]), lost: float32([2], [1, 2]) };
    await expect((async () => engine.run(program, { ...ask, feeds: short }))()).rejects.toThrow(
      "input x: expected shape [2], got [1] with 1 values.",
    );
    await engine.put("lost", float32([2], [1, 1]));
    await engine.remove(["lost"]);
    await expect(engine.get("lost")).rejects.toThrow('no tensor named "lost"');
    await expect(
      engine.run(program, { feeds: { ...feeds, lost: feeds.x }, updates: { y: "nowhere" } }),
    ).rejects.toThrow('no tensor named "nowhere"');
  });

  test("a broken model is refused, and the engine goes on", async () => {
    const bytes = Uint8Array.of(1, 2, 3);
    await expect(
      engine.compile({ bytes, inputs: {}, outputs: {}, weights: {} }),
    ).rejects.toMatchObject({
      code: "runtime",
    });
    const { y } = await evaluate(
      engine,
      { outputs: { y: add(x, 1) } },
      { x: float32([2], [1, 2]) },
    );
    expect([...y!]).toEqual([2, 3]);
  });

  test("a closed engine has finished what was computed, and refuses what waited", async () => {
    const own = await Engine.start({ threads: 1 });
    const program = await compile(own, slow);
    const outcome = (): Promise<string> =>
      own.run(program, { ...ask, feeds: { a } }).then(
        () => "answered",
        (error: Error) => error.message,
      );
    const first = outcome();
    await setTimeout(100);
    const second = outcome();
    await Promise.all([own.close(), own.close()]);
    expect(await first).toBe("answered");
    expect(await second).toBe("the engine stopped: the engine is closed");
    await expect(own.get("x")).rejects.toThrow("the engine stopped: the engine is closed");
    await own.close();
  });

  test("a process ends as it is asked to while something is computed", async () => {
    const script = `
      import { compile, Engine } from ${JSON.stringify(DIST)};
      import { input, matmul } from ${JSON.stringify(`${DIST}/../ops/index.js`)};
      const a = input("a", "float32", [${SIDE}, ${SIDE}]);
      const y = Array.from({ length: 20 }).reduce((product) => matmul(product, a), a);
      const engine = await Engine.start({ threads: 1 });
      const program = await compile(engine, { outputs: { y } });
      const data = new Float32Array(${SIDE * SIDE});
      void engine.run(program, { feeds: { a: { dtype: "float32", shape: [${SIDE}, ${SIDE}], data } }, fetch: ["y"] });
      setTimeout(() => process.exit(7), 100);`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
    let said = "";
    child.stderr.on("data", (text) => (said += String(text)));
    const [code] = (await once(child, "close")) as [number | null];
    expect({ code, said }).toEqual({ code: 7, said: "" });
  });

  test("options and outputs that there are not", async () => {
    await expect(Engine.start({ device: "gpu" as never })).rejects.toMatchObject({
      code: "usage",
      message: "device: expected one of cpu, webgpu, cuda, auto, got gpu.",
    });
    await expect(Engine.start({ threads: -1 })).rejects.toThrow(
      "threads: expected a whole number of at least 0, got -1.",
    );
    const program = await compile(engine, { outputs: { y: add(x, 1) } });
    const feeds = { x: float32([2], [1, 2]) };
    await expect((async () => engine.run(program, { feeds, fetch: ["z"] }))()).rejects.toThrow(
      "fetch: the program has no output z. It has: y.",
    );
  });

  test("what cannot be sent is an error like others", async () => {
    const names = [() => "state"] as never;
    await expect(engine.remove(names)).rejects.toMatchObject({
      code: "runtime",
      message: expect.stringMatching(/^remove: .*could not be cloned/s),
    });
  });

  test("a released program frees its session; the others stay", async () => {
    const [one, two] = [
      await compile(engine, { outputs: { y: add(x, 1) } }),
      await compile(engine, { outputs: { y: add(x, 2) } }),
    ];
    await engine.release(one);
    const feeds = { x: float32([2], [1, 2]) };
    const { outputs } = await engine.run(two, { ...ask, feeds });
    expect([...outputs["y"]!.data]).toEqual([3, 4]);
    await expect(engine.run(one, { ...ask, feeds })).rejects.toThrow(
      "the program has been released",
    );
    await engine.release(one);
  });
});

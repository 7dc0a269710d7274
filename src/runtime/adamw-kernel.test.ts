import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import wabt from "wabt";
import { MAX_STATE_LENGTH, OptimizerState, type AdamWFactors } from "./adamw-kernel.ts";
import { Engine } from "./engine.ts";

const HEAD = `/** @file adamw.wat as a WebAssembly module, in base64. Generated: npx vitest run src/runtime/adamw-kernel.test.ts -u */
`;

it("is compiled from its source", async () => {
  const source = readFileSync(new URL("adamw.wat", import.meta.url), "utf8");
  const { buffer } = (await wabt()).parseWat("adamw.wat", source, { simd: true }).toBinary({});
  const text = Buffer.from(buffer).toString("base64");
  await expect(`${HEAD}export const ADAMW_MODULE =\n  "${text}";\n`).toMatchFileSnapshot(
    "./adamw-module.ts",
  );
});

const FACTORS: AdamWFactors = {
  decay1: 0.9,
  gain1: 0.1,
  decay2: 0.999,
  gain2: Math.sqrt(0.001),
  eps: 1e-8,
  rate: 1e-3,
  keep: 0.9999,
};

/** AdamW of one number, in double precision. */
function expected(p: number, g: number, m: number, v: number): [number, number, number] {
  const { decay1, gain1, decay2, gain2, eps, rate, keep } = FACTORS;
  const [first, second] = [decay1 * m + gain1 * g, decay2 * v + (gain2 * g) ** 2];
  return [keep * p - (rate * first) / (Math.sqrt(second) + eps), first, second];
}

it.each([1, 4, 7, 1000])("updates %i numbers", (length) => {
  const state = new OptimizerState(length);
  const { parameter, gradient, firstMoment, secondMoment } = state.vectors;
  for (let i = 0; i < length; i++) {
    parameter[i] = Math.cos(i);
    gradient[i] = i % 5 === 0 ? 0 : Math.sin(3 * i) / (1 + (i % 7));
    firstMoment[i] = Math.sin(i) / 10;
    secondMoment[i] = Math.cos(2 * i) ** 2 / 100;
  }
  const before = Array.from(parameter, (p, i) =>
    expected(p, gradient[i]!, firstMoment[i]!, secondMoment[i]!),
  );
  state.step(FACTORS);
  for (const [i, [p, m, v]] of before.entries()) {
    expect(parameter[i]).toBeCloseTo(p, 6);
    expect(firstMoment[i]).toBeCloseTo(m, 7);
    expect(secondMoment[i]).toBeCloseTo(v, 8);
  }
});

it("makes moments zero before they are denormal", () => {
  const state = new OptimizerState(4);
  state.vectors.firstMoment.set([1.2e-38, -1.2e-38, 1, 0]);
  state.vectors.secondMoment.set([1.175495e-38, 1, 1, 0]);
  state.step(FACTORS);
  expect([...state.vectors.firstMoment]).toEqual([0, 0, Math.fround(0.9), 0]);
  expect(state.vectors.secondMoment[0]).toBe(0);
});

it("is refused in words where there is no state, and not made where it cannot be", async () => {
  const engine = await Engine.start({ threads: 1 });
  try {
    await engine.put("vector", { dtype: "float32", shape: [1], data: Float32Array.of(1) });
    await expect(engine.adamw("vector", FACTORS)).rejects.toThrow(
      `"vector" is no optimizer's state`,
    );
    const names = { parameter: "p", gradient: "g", firstMoment: "m", secondMoment: "v" };
    expect(await engine.state(names, MAX_STATE_LENGTH + 1)).toBe(false);
    expect(await engine.state(names, 3)).toBe(true);
    await engine.put("p", { dtype: "float32", shape: [3], data: Float32Array.of(1, 2, 3) });
    await engine.adamw("p", FACTORS);
    expect((await engine.get("p")).data).toEqual(Float32Array.of(0.9999, 1.9998, 2.9997));
  } finally {
    await engine.close();
  }
});

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { meanCurve, readCurves, smoothCurve } from "./curves.ts";

it("reads the losses of a run's events; a NaN is null there", async () => {
  const directory = await mkdtemp(join(tmpdir(), "curves-"));
  expect(await readCurves(directory)).toEqual({ training: [], validation: [] });
  const events = [
    { type: "started" },
    { type: "step", step: 1, loss: 0.7 },
    { type: "step", step: 2, loss: NaN },
    { type: "evaluated", step: 2, metrics: { scalars: { loss: 0.5, accuracy: 1 } } },
  ];
  const text = events.map((event) => `${JSON.stringify(event)}\n`).join("");
  await writeFile(join(directory, "metrics.jsonl"), text);
  expect(await readCurves(directory)).toEqual({
    training: [
      { step: 1, loss: 0.7 },
      { step: 2, loss: NaN },
    ],
    validation: [{ step: 2, loss: 0.5 }],
  });
  await rm(directory, { recursive: true });
});

it("means runs step by step, also where one stopped early", () => {
  const long = [1, 2, 3].map((step) => ({ step, loss: step }));
  const short = [1, 2].map((step) => ({ step, loss: 3 * step }));
  expect(meanCurve([short, long])).toEqual([
    { step: 1, loss: 2 },
    { step: 2, loss: 4 },
    { step: 3, loss: 3 },
  ]);
  expect(meanCurve([])).toEqual([]);
});

it("smooths by stretches of equal length, of which the last may be shorter", () => {
  const curve = [1, 2, 3, 4, 5].map((step) => ({ step, loss: 10 * step }));
  expect(smoothCurve(curve, 3)).toEqual([
    { step: 1.5, loss: 15 },
    { step: 3.5, loss: 35 },
    { step: 5, loss: 50 },
  ]);
  expect(smoothCurve(curve, 50)).toEqual(curve);
  expect(smoothCurve([], 50)).toEqual([]);
});

import { expect, it } from "vitest";
import { learningRateAt, SCHEDULES, type ScheduleName } from "./schedule.ts";

const options = { learningRate: 2, warmupSteps: 2, totalSteps: 6 };

const rates = (schedule: ScheduleName): number[] =>
  [0, 1, 2, 4, 6].map((step) => learningRateAt(step, { ...options, schedule }));

it("rises, then takes its course to the end", () => {
  expect(rates("constant")).toEqual([0, 1, 2, 2, 2]);
  expect(rates("linear")).toEqual([0, 1, 2, 1, 0]);
  expect(rates("cosine").map((rate) => Number(rate.toFixed(12)))).toEqual([0, 1, 2, 1, 0]);
});

it("refuses a schedule that there is not", () => {
  const schedule = "polynomial" as ScheduleName;
  expect(() => learningRateAt(2, { ...options, schedule })).toThrow(
    `schedule: expected one of ${SCHEDULES.join(", ")}, got "polynomial".`,
  );
});

import { describe, expect, it } from "vitest";
import { countSteps } from "./epochs.ts";
import { trainOptions } from "./options.ts";

function steps(examples: number, more: object) {
  return countSteps(examples, trainOptions({ model: "m", data: "d.csv", ...more }));
}

describe("countSteps", () => {
  it("counts batches, then groups of them; a short last one counts", () => {
    expect(steps(940, {})).toEqual({ perEpoch: 118, total: 354 });
    expect(steps(17, { gradientAccumulation: 2, epochs: 1 })).toEqual({ perEpoch: 2, total: 2 });
    expect(steps(17, { epochs: 0.1 })).toEqual({ perEpoch: 3, total: 1 });
    expect(steps(17, { epochs: 0.4 })).toEqual({ perEpoch: 3, total: 2 });
    expect(steps(17, { steps: 10 })).toEqual({ perEpoch: 3, total: 10 });
  });
});

import * as fc from "fast-check";
import { expect, it } from "vitest";
import { windowsOf } from "./windows.ts";

const show = (length: number, room: number, stride: number): string[] =>
  windowsOf(length, room, stride).map(({ from, to }) => `${from}-${to}`);

it("cuts a sequence into windows that overlap", () => {
  expect(show(10, 4, 2)).toEqual(["0-4", "2-6", "4-8", "6-10"]);
  expect(show(10, 4, 0)).toEqual(["0-4", "4-8", "8-10"]);
  expect(show(11, 4, 1)).toEqual(["0-4", "3-7", "6-10", "9-11"]);
  expect(show(4, 4, 3)).toEqual(["0-4"]);
  expect(show(0, 4, 3)).toEqual(["0-0"]);
});

it("overlaps by half where the stride leaves no room", () => {
  expect(show(7, 4, 128)).toEqual(["0-4", "2-6", "4-7"]);
  expect(show(3, 1, 1)).toEqual(["0-1", "1-2", "2-3"]);
});

it("covers every token, with the overlap that is asked for", () => {
  const size = fc.integer({ min: 1, max: 60 });
  fc.assert(
    fc.property(fc.nat(300), size, fc.nat(70), (length, room, stride) => {
      const windows = windowsOf(length, room, stride);
      expect([windows[0]!.from, windows.at(-1)!.to]).toEqual([0, length]);
      const overlap = stride < room ? stride : Math.floor(room / 2);
      for (const [i, { from, to }] of windows.entries()) {
        expect(to - from).toBeLessThanOrEqual(room);
        if (i > 0) expect(windows[i - 1]!.to - from).toBe(overlap);
      }
    }),
  );
});

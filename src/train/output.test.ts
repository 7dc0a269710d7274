import { tmpdir } from "node:os";
import { describe, expect, it } from "vitest";
import { checkFreeSpace } from "./output.ts";

describe("checkFreeSpace", () => {
  it("refuses a disk that cannot hold the adapter, before training", async () => {
    await expect(checkFreeSpace(tmpdir(), "out", 2 ** 60)).rejects.toThrow(
      /^out: the result needs 1099511627780\.0 MiB, the disk has [\d.]+ MiB left\. Free space, /,
    );
    await checkFreeSpace(tmpdir(), "out", 1);
  });
});

import { describe, expect, test } from "vitest";
import { PromiseCache } from "./promise-cache.ts";

/** A cache of texts, with what it has made and released. */
function recorded(capacity?: number) {
  const [made, released] = [[] as string[], [] as string[]];
  const cache = new PromiseCache<string>({
    release: async (value) => void released.push(value),
    ...(capacity === undefined ? {} : { capacity }),
  });
  const get = (key: string) =>
    cache.get(key, async () => {
      made.push(key);
      return `value of ${key}`;
    });
  return { cache, get, made, released };
}

describe("PromiseCache", () => {
  test("makes each key once, also for calls at the same time", async () => {
    const { get, made } = recorded();
    expect(await Promise.all([get("a"), get("b"), get("a")])).toEqual([
      "value of a",
      "value of b",
      "value of a",
    ]);
    await get("b");
    expect(made).toEqual(["a", "b"]);
  });

  test("tries again what could not be made", async () => {
    const { cache, get, released } = recorded();
    const failing = () => cache.get("a", () => Promise.reject(new Error("no memory")));
    await expect(failing()).rejects.toThrow("no memory");
    expect(await get("a")).toBe("value of a");
    await cache.clear();
    expect(released).toEqual(["value of a"]);
  });

  test("releases what was not asked for the longest, before it makes another", async () => {
    const { get, made, released } = recorded(2);
    for (const key of ["a", "b", "a", "c", "a"]) await get(key);
    expect(released).toEqual(["value of b"]);
    expect(made).toEqual(["a", "b", "c"]);
    await get("b");
    expect(released).toEqual(["value of b", "value of c"]);
  });

  test("releases everything but what could not be made", async () => {
    const { cache, get, made, released } = recorded();
    await get("a");
    const failed = cache.get("b", () => Promise.reject(new Error("no memory")));
    const cleared = cache.clear();
    await expect(failed).rejects.toThrow("no memory");
    await cleared;
    expect(released).toEqual(["value of a"]);
    await get("a");
    expect(made).toEqual(["a", "a"]);
  });
});

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { readModelConfig } from "./model-config.ts";

it("reads a directory's configuration, by another name too", async () => {
  const root = mkdtempSync(join(tmpdir(), "model-config-"));
  writeFileSync(join(root, "config.json"), '{"model_type": "bert"}');
  writeFileSync(join(root, "other.json"), '{"model_type": "gpt2"}');
  expect(await readModelConfig(root)).toEqual({ model_type: "bert" });
  expect(await readModelConfig(root, "other.json")).toEqual({ model_type: "gpt2" });
  rmSync(root, { recursive: true });
});

it("says that a directory is an adapter, and how to merge it", async () => {
  const root = mkdtempSync(join(tmpdir(), "model-config-"));
  writeFileSync(join(root, "adapter_config.json"), "{}");
  await expect(readModelConfig(root)).rejects.toMatchObject({
    code: "config",
    message:
      `${root}: expected a model, got an adapter. Pass its base model, or a model that it is merged into: ` +
      `lowrank merge --adapter ${root} --output DIR.`,
  });
  rmSync(root, { recursive: true });
});

it("says how to download what looks like a model of the hub", async () => {
  await expect(readModelConfig("owner/some-model-1.5B")).rejects.toMatchObject({
    code: "io",
    message:
      "owner/some-model-1.5B: there is no such directory. Check the path; a model of the Hugging Face hub is downloaded first, " +
      "with its own program: hf download owner/some-model-1.5B --local-dir some-model-1.5B.",
  });
  await expect(readModelConfig("/no/such/directory")).rejects.toMatchObject({
    code: "io",
    message:
      "/no/such/directory/config.json: cannot read the model's configuration, it does not exist. Check the path.",
  });
});

/** @file The configuration of a Hugging Face model directory. What it says is for the model families to judge. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { LowrankError } from "../errors.ts";
import { readJson } from "./files.ts";

/** A name on the Hugging Face hub: "owner/model". */
const HUB_NAME = /^[\w.-]+\/([\w.-]+)$/;

/** Read a model directory's config.json, or the file of another name there. Throws LowrankError "io" where it cannot be read,
 * "config" where it is no JSON; a name of the hub gets the command that downloads it, an adapter the one that merges it. */
export async function readModelConfig(
  directory: string,
  file = "config.json",
): Promise<Record<string, unknown>> {
  const name = HUB_NAME.exec(directory)?.[1];
  if (name !== undefined && !existsSync(directory)) {
    throw new LowrankError(
      "io",
      `${directory}: there is no such directory. Check the path; a model of the Hugging Face hub is downloaded first, ` +
        `with its own program: hf download ${directory} --local-dir ${name}.`,
    );
  }
  if (existsSync(join(directory, "adapter_config.json")) && !existsSync(join(directory, file))) {
    throw new LowrankError(
      "config",
      `${directory}: expected a model, got an adapter. Pass its base model, or a model that it is merged into: ` +
        `lowrank merge --adapter ${directory} --output DIR.`,
    );
  }
  const contents = await readJson(join(directory, file), "model's configuration");
  return contents as Record<string, unknown>;
}

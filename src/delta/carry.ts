/** @file What goes along when an adapter is made of something that was trained: tokenizer, the description of the task
 * (lowrank.json), a model card. */
import { existsSync } from "node:fs";
import { copyFile, readdir } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { readJson, writeFileAtomic, writeJson } from "../io/files.ts";
import { ioError } from "../io/io-errors.ts";

/** The description of a task beside what was trained for it. */
export const DESCRIPTION_FILE = "lowrank.json";
/** The model card. */
export const CARD_FILE = "README.md";

/** Copy the files of a directory, not its folders, whose names pass. Throws LowrankError("io"). */
export async function carryFiles(
  from: string,
  to: string,
  isWanted: (name: string) => boolean,
): Promise<void> {
  try {
    const entries = await readdir(from, { withFileTypes: true });
    const names = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
    for (const name of names.filter(isWanted)) await copyFile(join(from, name), join(to, name));
  } catch (error) {
    throw ioError(from, "copy the files", error);
  }
}

/**
 * Copy lowrank.json, where there is one, to a directory under construction that will be `target`: with the base model as
 * it is found from there, and without the results of the training, which were not measured on what is written now.
 */
export async function carryDescription(
  from: string,
  path: string,
  { target, base }: { target: string; base?: string | undefined },
): Promise<void> {
  const file = join(from, DESCRIPTION_FILE);
  if (!existsSync(file)) return;
  const stored = (await readJson(file, "adapter's description")) as Record<string, unknown>;
  const { result: _, ...kept } = stored;
  const entry = { ...(stored["baseModel"] as Record<string, unknown> | undefined) };
  const found = base ?? entry["path"];
  if (base !== undefined) entry["name"] = base;
  if (typeof found === "string") {
    entry["path"] = resolve(found);
    entry["relativePath"] = relative(resolve(target), resolve(found));
  }
  await writeJson(join(path, DESCRIPTION_FILE), { ...kept, baseModel: entry });
}

/** Write a model card with front matter. Source: https://huggingface.co/docs/hub/model-cards */
export async function writeCard(
  path: string,
  { name, base, text }: { name: string; base: string | undefined; text: readonly string[] },
): Promise<void> {
  const frontMatter = [
    "---",
    ...(base === undefined ? [] : [`base_model: ${JSON.stringify(base)}`]), // A JSON string is a YAML string.
    "library_name: peft",
    "tags:",
    "  - lora",
    "  - lowrank",
    "---",
  ];
  const card = [frontMatter.join("\n"), `# ${name}`, ...text].join("\n\n");
  await writeFileAtomic(join(path, CARD_FILE), `${card}\n`);
}

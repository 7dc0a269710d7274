/** @file A Vulkan driver for machines without a GPU: SwiftShader, as Debian's chromium package has it. */
import { existsSync } from "node:fs";
import { Engine } from "../../src/runtime/engine.ts";

const SOFTWARE_DRIVER = "/usr/lib/chromium/vk_swiftshader_icd.json";
const START_TIMEOUT_MS = 30_000;

/**
 * Start an engine on WebGPU: on the software driver where it is installed, else on the machine's own.
 * Returns why not where there is neither; throws when anything else is wrong. The Vulkan loader reads the environment of the process once,
 * when the first device is looked for: call it before any other engine is started on WebGPU.
 */
export async function startWebgpu(): Promise<Engine | string> {
  if (process.env["VK_ICD_FILENAMES"] === undefined && existsSync(SOFTWARE_DRIVER)) {
    process.env["VK_ICD_FILENAMES"] = SOFTWARE_DRIVER;
  }
  try {
    return await withinTime(Engine.start({ device: "webgpu" }));
  } catch (error) {
    const { message } = error as Error;
    if (!message.startsWith("device webgpu: ")) throw error;
    return message;
  }
}

async function withinTime<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const fail = (): void => reject(new Error(`no answer within ${START_TIMEOUT_MS / 1000} s`));
    timer = setTimeout(fail, START_TIMEOUT_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

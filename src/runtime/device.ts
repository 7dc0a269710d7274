/** @file Which device to compute on, and what to tell where one is missing. */
import { LowrankError } from "../errors.ts";
import type { Device, DeviceChoice } from "./protocol.ts";

/** What is known about the machine and its ONNX Runtime. */
export interface Installation {
  /** `process.platform` and `process.arch`. */
  readonly platform: string;
  readonly arch: string;
  /** The providers that ONNX Runtime was built with or can load. */
  readonly providers: readonly string[];
  /** Whether the library with the CUDA provider, which is installed separately, is there. */
  readonly hasCudaLibrary: boolean;
  /** Computes something small on a provider; rejects with ONNX Runtime's reason. */
  try(provider: Device): Promise<void>;
}

/**
 * The provider of a device. "auto" is CUDA where it works and the CPU elsewhere, never WebGPU: results
 * come back to the processor after each step, so that an integrated or software GPU is usually slower
 * than the CPU beside it, and which kind it is cannot be told beforehand.
 * Throws LowrankError("runtime") that says what is missing for a device asked for by name.
 */
export async function resolveDevice(
  device: DeviceChoice,
  installation: Installation,
): Promise<Device> {
  if (device === "cpu") return device;
  if (device === "auto") {
    const works = (await whyUnavailable("cuda", installation)) === undefined;
    return works ? "cuda" : "cpu";
  }
  const reason = await whyUnavailable(device, installation);
  if (reason === undefined) return device;
  throw new LowrankError("runtime", `device ${device}: ${reason} Or compute on device cpu.`);
}

type Gpu = Exclude<Device, "cpu">;

/** Sentences on what is missing and how to get it; undefined where a provider works. */
async function whyUnavailable(gpu: Gpu, installation: Installation): Promise<string | undefined> {
  const { platform, arch, providers, hasCudaLibrary } = installation;
  if (!providers.includes(gpu)) {
    return `onnxruntime-node has no ${TITLES[gpu]} for ${platform} on ${arch}, only for ${PLATFORMS[gpu]}.`;
  }
  if (gpu === "cuda" && !hasCudaLibrary) {
    return (
      "the CUDA provider of onnxruntime-node, libonnxruntime_providers_cuda.so, is not installed. " +
      "Install it (Linux on x64, for CUDA 12) with: ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node."
    );
  }
  try {
    await installation.try(gpu);
    return undefined;
  } catch (error) {
    return explain(gpu, error instanceof Error ? error.message : String(error));
  }
}

const TITLES: Readonly<Record<Gpu, string>> = { webgpu: "WebGPU", cuda: "CUDA" };
const PLATFORMS: Readonly<Record<Gpu, string>> = {
  webgpu: "Linux on x64, macOS and Windows",
  cuda: "Linux on x64",
};

function explain(gpu: Gpu, message: string): string {
  if (/Failed to get a WebGPU adapter/.test(message)) {
    return (
      "no GPU was found. It needs a GPU with its driver; on Linux that is a Vulkan driver (libvulkan.so.1 " +
      "and the vendor's, or Mesa's mesa-vulkan-drivers)."
    );
  }
  if (/Failed to load shared library/.test(message)) {
    return (
      "its provider library does not load: libraries of CUDA 12 or cuDNN 9 are missing (ONNX Runtime's log names " +
      "them). Install both, and put their folders on LD_LIBRARY_PATH."
    );
  }
  const detail = message.trim().replace(/\.$/, "");
  return `ONNX Runtime cannot use it: ${detail}. Check the GPU and its driver.`;
}

import { describe, expect, it } from "vitest";
import { LowrankError } from "../errors.ts";
import { resolveDevice, type Installation } from "./device.ts";
import { Engine } from "./engine.ts";
import type { DeviceChoice } from "./protocol.ts";

const working: Installation = {
  platform: "linux",
  arch: "x64",
  providers: ["cpu", "webgpu", "cuda"],
  hasCudaLibrary: true,
  try: async () => {},
};

const failing = (message: string): Installation => ({
  ...working,
  try: () => Promise.reject(new Error(message)),
});

async function errorOf(device: DeviceChoice, installation: Installation): Promise<string> {
  const error: unknown = await resolveDevice(device, installation).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(LowrankError);
  expect((error as LowrankError).code).toBe("runtime");
  return (error as LowrankError).message;
}

describe("resolveDevice", () => {
  it("takes a device that works", async () => {
    for (const device of ["cpu", "webgpu", "cuda"] as const) {
      expect(await resolveDevice(device, working)).toBe(device);
    }
  });

  it("tries nothing for the CPU", async () => {
    expect(await resolveDevice("cpu", failing("no"))).toBe("cpu");
  });

  it("chooses CUDA where it works and the CPU elsewhere, never WebGPU", async () => {
    expect(await resolveDevice("auto", working)).toBe("cuda");
    expect(await resolveDevice("auto", failing("no device"))).toBe("cpu");
    expect(await resolveDevice("auto", { ...working, hasCudaLibrary: false })).toBe("cpu");
    expect(await resolveDevice("auto", { ...working, providers: ["cpu", "webgpu"] })).toBe("cpu");
  });

  it("says how to install the CUDA provider", async () => {
    expect(await errorOf("cuda", { ...working, hasCudaLibrary: false })).toBe(
      "device cuda: the CUDA provider of onnxruntime-node, libonnxruntime_providers_cuda.so, is not installed. " +
        "Install it (Linux on x64, for CUDA 12) with: ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node. " +
        "Or compute on device cpu.",
    );
  });

  it("says where there is no such provider at all", async () => {
    const mac = { ...working, platform: "darwin", arch: "arm64", providers: ["cpu", "webgpu"] };
    expect(await errorOf("cuda", mac)).toBe(
      "device cuda: onnxruntime-node has no CUDA for darwin on arm64, only for Linux on x64. " +
        "Or compute on device cpu.",
    );
    const arm = { ...working, arch: "arm64", providers: ["cpu"] };
    expect(await errorOf("webgpu", arm)).toBe(
      "device webgpu: onnxruntime-node has no WebGPU for linux on arm64, only for Linux on x64, macOS and Windows. " +
        "Or compute on device cpu.",
    );
  });

  it("names the libraries of CUDA when its provider does not load", async () => {
    const message = "OrtSessionOptionsAppendExecutionProvider_Cuda: Failed to load shared library";
    expect(await errorOf("cuda", failing(message))).toBe(
      "device cuda: its provider library does not load: libraries of CUDA 12 or cuDNN 9 are missing (ONNX Runtime's " +
        "log names them). Install both, and put their folders on LD_LIBRARY_PATH. Or compute on device cpu.",
    );
  });

  it("says that there is no GPU", async () => {
    const message = "webgpu_context.cc:136 Failed to get a WebGPU adapter: No supported adapters";
    expect(await errorOf("webgpu", failing(message))).toBe(
      "device webgpu: no GPU was found. It needs a GPU with its driver; on Linux that is a Vulkan driver " +
        "(libvulkan.so.1 and the vendor's, or Mesa's mesa-vulkan-drivers). Or compute on device cpu.",
    );
  });

  it("passes on what it does not know", async () => {
    expect(await errorOf("cuda", failing("CUDA failure 35: driver is insufficient."))).toBe(
      "device cuda: ONNX Runtime cannot use it: CUDA failure 35: driver is insufficient. " +
        "Check the GPU and its driver. Or compute on device cpu.",
    );
  });
});

describe("Engine.start", () => {
  it("resolves auto to a device that computes", async () => {
    const engine = await Engine.start({ device: "auto" });
    expect(["cpu", "cuda"]).toContain(engine.device);
    await engine.close();
  });

  it("rejects with what is missing", async () => {
    const engine = await Engine.start({ device: "cuda" }).catch((error: unknown) => error);
    if (engine instanceof Engine) await engine.close();
    else
      expect((engine as LowrankError).message).toMatch(
        /^device cuda: .* Or compute on device cpu\.$/,
      );
  });
});

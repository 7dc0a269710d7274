/** @file Which devices work on this machine, for lowrank doctor. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Device } from "../runtime/protocol.ts";

/** The built probe, seen from src/cli and dist/cli alike, like the engine's worker. */
const PROBE = fileURLToPath(new URL("../../dist/cli/probe.js", import.meta.url));
const PROBE_TIMEOUT_MS = 30_000;

/** Why a device does not work; undefined where it does. Tried in a process of its own: drivers write to
 * stderr, and a broken one takes its process with it. */
export function whyUnavailable(device: Device): Promise<string | undefined> {
  return new Promise((resolve) => {
    const command = [PROBE, device];
    execFile(process.execPath, command, { timeout: PROBE_TIMEOUT_MS }, (error, stdout) => {
      resolve(error ? shorten(stdout.trim() || error.message) : undefined);
    });
  });
}

/** Without what is said to those who asked for the device. */
function shorten(reason: string): string {
  return reason.replace(/^device \w+: /, "").replace(/ Or compute on device cpu\.$/, "");
}

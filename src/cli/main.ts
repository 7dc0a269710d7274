#!/usr/bin/env node
/** @file The program `lowrank`. */
import { report, run } from "./run.ts";

// A reader that has seen enough (`lowrank predict … | head`) ends the program without a word; one that stops
// listening to the progress does not end the training.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : report(error));
});
process.stderr.on("error", () => {});
process.on("uncaughtException", (error) => process.exit(report(error)));

process.exitCode = await run(process.argv.slice(2));

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts", "examples/**/*.test.ts"],
    // Worker threads load the TypeScript sources too: they inherit this loader.
    pool: "forks",
    execArgv: ["--import", "tsx"],
    testTimeout: 60_000,
  },
});

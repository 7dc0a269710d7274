/** @file Rows that several threads could add to the same place at a time: none may be lost. */
import { expect, it } from "vitest";
import { input } from "../graph/leaves.ts";
import { compile } from "../runtime/compile.ts";
import { Engine } from "../runtime/engine.ts";
import { scatterAddRows } from "./indexing.ts";

it("adds every row, whatever the number of threads", async () => {
  const [rows, width, places] = [960, 768, 3];
  const sums = scatterAddRows(
    input("updates", "float32", [rows, width]),
    input("index", "int32", [rows]),
    places,
  );
  const engine = await Engine.start({ threads: 4 });
  try {
    const program = await compile(engine, { outputs: { sums } });
    const ones = new Float32Array(rows * width).fill(1);
    for (let run = 0; run < 5; run++) {
      const { outputs } = await engine.run(program, {
        feeds: {
          updates: { dtype: "float32", shape: [rows, width], data: ones },
          index: {
            dtype: "int32",
            shape: [rows],
            data: Int32Array.from({ length: rows }, (_, row) => row % places),
          },
        },
        fetch: ["sums"],
      });
      expect(new Set(outputs["sums"]!.data as Float32Array)).toEqual(new Set([rows / places]));
    }
  } finally {
    await engine.close();
  }
});

import * as fc from "fast-check";
import { expect, it } from "vitest";
import { LowrankError } from "../errors.ts";
import { TASKS } from "./registry.ts";

/** What a task remembers, by its name. */
const STATES: Readonly<Record<string, object>> = {
  "sequence-classification": { labels: ["a", "b"] },
  "token-classification": {
    labels: ["O", "B-x", "I-x"],
    spanUnit: "utf16",
    labelAllTokens: false,
    stride: 8,
  },
  "question-answering": { stride: 8, maxAnswerTokens: 4, dropTokenTypes: false, nBest: 1 },
  "causal-lm": { format: "text" },
};

it.each(TASKS.map((kind) => [kind.name, kind] as const))(
  "any state is a task or one of our errors, and so is any foreign configuration (%s)",
  (name, kind) => {
    const keys =
      "labels problemType threshold classWeights spanUnit labelAllTokens stride tagNames written textColumn " +
      "textPairColumn labelColumn labelSeparator maxAnswerTokens nullThreshold dropTokenTypes nBest blockSize __proto__";
    const key = fc.constantFrom(...keys.split(" "));
    const odd = fc.constantFrom(-1, 0.5, 1e9, "", [], ["O"], ["B-"], ["a", "a"], [""], null);
    const changes = fc.dictionary(key, fc.oneof(odd, fc.jsonValue()), { maxKeys: 2 });
    const states = changes.map((change) => Object.assign({}, STATES[name], change));
    let restored = 0;
    fc.assert(
      fc.property(fc.oneof(states, states, fc.jsonValue()), (state) => {
        try {
          const task = kind.restore(state, "lowrank.json");
          expect(kind.restore(JSON.parse(JSON.stringify(task.state)), "again").state).toEqual(
            task.state,
          );
          restored++;
        } catch (error) {
          if (!(error instanceof LowrankError)) throw error;
        }
      }),
      { numRuns: 500, seed: 7 },
    );
    expect(restored).toBeGreaterThan(50);

    const configuration = fc.dictionary(
      fc.constantFrom("id2label", "problem_type", "num_labels", "label2id"),
      fc.oneof(fc.jsonValue(), fc.constantFrom({ 0: "O", 1: "B-x" }, { a: "b" }, "regression")),
    );
    fc.assert(
      fc.property(configuration, fc.integer({ min: 0, max: 4 }), (config, rows) => {
        try {
          kind.fromConfig(config, rows);
        } catch (error) {
          if (!(error instanceof LowrankError)) throw error;
        }
      }),
      { numRuns: 300, seed: 7 },
    );
  },
);

import { describe, expect, it } from "vitest";
import type { Table } from "../data/table.ts";
import { LowrankError } from "../errors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { SentenceExample, WindowLabels } from "./entities/encode.ts";
import type { TaskOptions } from "./options.ts";
import { findTask } from "./registry.ts";
import type { Encoder, Task } from "./task.ts";
import { tokenClassification } from "./token-classification.ts";

function table(rows: Record<string, unknown>[], file = "data.jsonl"): Table {
  return {
    file,
    columns: [...new Set(rows.flatMap((row) => Object.keys(row)))],
    unit: "line",
    rows: rows.map((values, i) => ({ line: i + 1, values })),
  };
}

/** A token for each two letters of a word, its place as id; none for control characters; [101] … [102]. */
const tokenizer: Pick<Tokenizer, "tokenize" | "wrap" | "specialTokens"> = {
  tokenize(text) {
    const parts = [...text.matchAll(/[^\s\0]{1,2}/g)];
    return {
      ids: Int32Array.from(parts, (_, i) => i),
      starts: Int32Array.from(parts, ({ index }) => index),
      ends: Int32Array.from(parts, ({ 0: part, index }) => index + part.length),
    };
  },
  wrap: ([ids]) => ({
    ids: Int32Array.of(101, ...Array.from(ids), 102),
    typeIds: new Int32Array(ids.length + 2),
    places: [1],
  }),
  specialTokens: () => 2,
};

const encoder = (maxLength = 64): Encoder => ({
  maxLength,
  emptyToken: 0,
  tokenizer: tokenizer as Tokenizer,
  encode: () => ({ ids: [], truncated: 0 }),
});

const split = (tokens: string, tags: string) => ({
  tokens: tokens.split(" "),
  tags: tags.split(" "),
});
const rows = [split("Anna lives in New York", "B-per O O B-loc I-loc"), split("so what", "O O")];
const task = tokenClassification.create(table(rows), {});
// O, B-loc, I-loc, B-per, I-per
const LABELS = ["O", "B-loc", "I-loc", "B-per", "I-per"];

const create = (data: Record<string, unknown>[], options: TaskOptions = {}): Task =>
  tokenClassification.create(table(data), options);
const examplesOf = (
  data: Record<string, unknown>[],
  options: TaskOptions = {},
  maxLength?: number,
): SentenceExample[] =>
  create(data, options).readExamples(table(data), encoder(maxLength)).examples as SentenceExample[];

/** Results as if the model were sure of each word's label, by window. */
const sure = (
  examples: readonly SentenceExample[],
  label: (word: number, window: number) => number,
) =>
  examples.map(({ words }, window): WindowLabels => ({
    labels: Int32Array.from(words, (word) => label(word, window)),
    scores: new Float32Array(words.length).fill(1),
  }));

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof LowrankError) return error.message;
    throw error;
  }
  throw new Error("expected an error");
}

describe("token classification", () => {
  it("keeps the places of a head's labels", () => {
    const labels = ["B-per", "I-per", "O", "B-loc", "I-loc"];
    const own = tokenClassification.create(table(rows), {}, { labels, stays: false });
    expect(own.state["labels"]).toEqual(labels);
    const [first] = own.readExamples(table(rows), encoder()).examples as SentenceExample[];
    expect([...first!.labels].filter((label) => label >= 0)).toEqual([0, 2, 2, 3, 4]);
    const more = [...labels, "B-org", "I-org"];
    const named = (stays: boolean) =>
      tokenClassification.create(table(rows), {}, { labels: more, stays }).state["labels"];
    expect(named(true)).toEqual(more);
    expect(named(false)).toEqual(LABELS);
  });

  it("takes its labels from the data, O first, into the model's configuration", () => {
    expect(task.modelConfig).toEqual({
      id2label: Object.fromEntries(LABELS.entries()),
      label2id: Object.fromEntries(LABELS.map((label, id) => [label, id])),
      num_labels: 5,
    });
    expect(task.details).toEqual({ entities: ["loc", "per"], written: "BIO", learned: "BIO" });
    const iobes = create(rows, { tagScheme: "iobes" });
    expect(Object.values(iobes.modelConfig["id2label"] as object)).toEqual(
      "O B-loc I-loc E-loc S-loc B-per I-per E-per S-per".split(" "),
    );
    for (const name of ["ner", "token-cls", "TOKEN_CLS"]) {
      expect(findTask(name)).toBe(tokenClassification);
    }
  });

  it("is the same after its state went through JSON, and looks for the same columns", () => {
    const other = rows.map(({ tokens, tags }) => ({ Wörter: tokens, ner: tags, tokens: "wrong" }));
    const asked = { tokensColumn: "Wörter", tagsColumn: "2", stride: 3 };
    const made = create(other, asked);
    const state: unknown = JSON.parse(JSON.stringify(made.state));
    const restored = tokenClassification.restore(state, "lowrank.json");
    expect(restored.state).toEqual(state);
    expect(restored.readExamples(table(other), encoder())).toEqual(
      made.readExamples(table(other), encoder()),
    );
    expect(restored.readInputs(table([{ text: "Anna" }]))).toEqual([{ text: "Anna" }]);
    expect(() => tokenClassification.restore({}, "lowrank.json")).toThrow(
      /^lowrank\.json: not a token classification task: labels: .*\. Train the adapter again\.$/,
    );
  });

  it("puts a word's label on its first token, or on all", () => {
    const [first] = examplesOf(rows);
    //                                    An  na  li ve s  in  Ne w  Yo rk
    expect([...first!.inputIds]).toEqual([101, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 102]);
    const none = -100;
    expect([...first!.labels]).toEqual([none, 3, none, 0, none, none, 0, 1, none, 2, none, none]);
    const [all] = examplesOf(rows, { labelAllTokens: true });
    expect([...all!.labels]).toEqual([none, 3, 4, 0, 0, 0, 0, 1, 2, 2, 2, none]);
  });

  it("reads texts with places, in the forms that tools write", () => {
    const text = "Anna lives in New York";
    const forms = [
      {
        text,
        spans: [
          { start: 14, end: 22, label: "loc" },
          { start: 0, end: 4, label: "per" },
        ],
      },
      {
        text,
        entities: [
          [0, 4, "per"],
          [14, 22, "loc"],
        ],
      },
      {
        text,
        label: {
          entities: [
            [0, 4, "per"],
            [14, 22, "loc"],
          ],
        },
      },
      {
        text,
        spans: [
          { text: "Anna", type: "per", start: 0, end: 4, score: 1 },
          { type: "loc", start: 14, end: 22 },
        ],
      },
      {
        text: { text },
        labels: [
          { slot: "per", valueSpan: { endIndex: 4 } },
          { slot: "loc", valueSpan: { startIndex: 14, endIndex: 22 } },
        ],
      },
    ];
    for (const form of forms) {
      const [example] = examplesOf([form]);
      expect(example!.labels, JSON.stringify(form)).toEqual(examplesOf(rows)[0]!.labels);
    }
    const [none] = task.readExamples(table([{ text: "so", spans: null }]), encoder()).examples;
    expect([...(none as SentenceExample).labels]).toEqual([-100, 0, -100]);
  });

  it("cuts words where entities end", () => {
    const data = [
      {
        text: "New York-based 😀Anna",
        spans: [
          [0, 8, "loc"],
          [17, 21, "per"],
        ],
      },
    ];
    const [example] = examplesOf(data);
    const { starts, labels } = example!.sentence;
    expect([starts, labels]).toEqual([
      [0, 4, 8, 9, 15, 17],
      [1, 2, 0, 0, 0, 3],
    ]);
    const python = [
      {
        ...data[0]!,
        spans: [
          [0, 8, "loc"],
          [16, 20, "per"],
        ],
      },
    ];
    expect(examplesOf(python, { spanUnit: "characters" })[0]!.labels).toEqual(example!.labels);
  });

  it("reads tags of other schemes, by numbers, and in texts", () => {
    const labels = examplesOf(rows)[0]!.labels;
    const [tokens] = rows.map((row) => row.tokens);
    const names = ["O", "I-per", "I-loc"];
    expect(examplesOf([{ tokens, tags: [1, 0, 0, 2, 2] }], { tagNames: names })[0]!.labels).toEqual(
      labels,
    );
    for (const tags of ["I-per O O I-loc I-loc", "S-per O O B-loc E-loc", "per O O loc loc"]) {
      expect(examplesOf([{ tokens, tags }])[0]!.labels, tags).toEqual(labels);
    }
  });

  it("fills a batch up, and gives empty batches no loss to divide", () => {
    const { examples } = task.readExamples(table(rows), encoder());
    const feeds = task.collate(examples, { batch: 3, length: 12 }, 9);
    expect(feeds["labels"]!.shape).toEqual([3, 12]);
    expect([...(feeds["labels"]!.data as Int32Array).subarray(12, 24)]).toEqual([
      -100,
      0,
      0,
      -100,
      ...Array.from({ length: 8 }, () => -100),
    ]);
    expect(task.countLabels(feeds)).toBe(7);
    const unknown = task.inputExamples([{ text: "Anna" }], encoder()).examples;
    expect(task.countLabels(task.collate(unknown, { batch: 2, length: 4 }, 9))).toBe(0);
  });

  it("weighs labels that occur so that each has the same total", () => {
    const weighted = create(rows, { classWeights: "balanced" });
    expect(weighted.details["classWeights"]).toEqual([7 / 16, 7 / 4, 7 / 4, 7 / 4, 1]);
    const { examples } = weighted.readExamples(table(rows), encoder());
    expect(weighted.countLabels(weighted.collate(examples, { batch: 2, length: 12 }, 9))).toBe(7);
  });

  it("names strata by the first entity", () => {
    expect(tokenClassification.strata(table([...rows, rows[0]!]), {})).toEqual([0, 1, 0]);
  });
});

describe("windows of long texts", () => {
  const words = Array.from({ length: 10 }, (_, i) => `w${i}`);
  const data = [{ tokens: words, tags: words.map((_, i) => (i === 9 ? "B-x" : "O")) }];

  it("overlap, and label each word in every window that begins it", () => {
    const windows = examplesOf(data, { stride: 2 }, 6); // 4 tokens each
    expect(windows.map((window) => [...window.words])).toEqual([
      [0, 1, 2, 3],
      [2, 3, 4, 5],
      [4, 5, 6, 7],
      [6, 7, 8, 9],
    ]);
    expect(windows.map(({ contexts }) => [...contexts])).toEqual([
      [3, 2, 1, 0],
      [0, 1, 1, 0],
      [0, 1, 1, 0],
      [0, 1, 2, 3],
    ]);
    expect([...windows[3]!.labels]).toEqual([-100, 0, 0, 0, 1, -100]);
    const windows0 = examplesOf(data, { stride: 0 }, 6);
    expect(windows0.map(({ words: own }) => own)).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9],
    ]);
  });

  it("leave a word whose first token is in the window before", () => {
    const long = [{ tokens: ["abcdef", "gh"], tags: ["B-x", "I-x"] }];
    const windows = examplesOf(long, { stride: 0, labelAllTokens: true }, 4);
    expect(windows.map(({ words: own, labels }) => [[...own], [...labels]])).toEqual([
      [[0], [-100, 1, 2, -100]],
      [[1], [-100, 2, 2, -100]],
    ]);
  });

  it("give a word the label of the window where it has most context", () => {
    const made = create(data, { stride: 2 });
    const { examples } = made.readExamples(table(data), encoder(6));
    // Windows say B-x of the words that another one knows better.
    const better = [0, 0, 0, 1, 1, 2, 2, 3, 3, 3];
    const results = sure(examples as SentenceExample[], (word, window) =>
      window === better[word] ? (word === 9 ? 1 : 0) : 1,
    );
    expect(made.metrics(examples, results).scalars).toEqual({
      f1: 1,
      precision: 1,
      recall: 1,
      accuracy: 1,
      strictF1: 1,
    });
  });

  it("need room for a token", () => {
    expect(message(() => examplesOf(data, {}, 2))).toBe(
      "maxLength: expected at least 3 tokens, 2 of them special ones, got 2.",
    );
  });
});

const predict = (inputs: Record<string, unknown>[], label: (word: number) => number) => {
  const { examples } = task.inputExamples(inputs, encoder());
  return task.predictions(inputs, examples, sure(examples as SentenceExample[], label));
};

describe("predictions", () => {
  it("are entities of whole words, with their places", () => {
    const text = " Anna lives in 😀 New York!";
    const labels = [3, 0, 0, 0, 1, 2, 0];
    const [prediction] = predict([{ text }], (word) => labels[word]!);
    expect(prediction).toEqual({
      entities: [
        { text: "Anna", type: "per", start: 1, end: 5, score: 1 },
        { text: "New York", type: "loc", start: 18, end: 26, score: 1 },
      ],
    });
    for (const { text: own, start, end } of prediction!.entities)
      expect(text.slice(start, end)).toBe(own);
    expect(task.lines(prediction!)).toEqual([
      ["Anna", "per", 1, 5, 1],
      ["New York", "loc", 18, 26, 1],
    ]);
  });

  it("never break an entity, whatever the labels", () => {
    const [prediction] = predict([{ text: "a b c d" }], (word) => [2, 2, 4, 1][word]!);
    expect(
      prediction!.entities.map(({ text, type }: { text: string; type: string }) => [text, type]),
    ).toEqual([
      ["a b", "loc"],
      ["c", "per"],
      ["d", "loc"],
    ]);
  });

  it("give tokens their tags; a token that the model does not see is outside", () => {
    const [prediction, empty, nothing] = predict(
      [{ tokens: ["a", "\0", "b"] }, { text: "" }, { tokens: [] }],
      () => 2,
    );
    expect(prediction!.tags).toEqual(["I-loc", "O", "I-loc"]);
    expect(prediction!.entities).toMatchObject([
      { text: "a", start: 0, end: 1 },
      { text: "b", start: 4, end: 5 },
    ]);
    expect([empty, nothing]).toEqual([{ entities: [] }, { entities: [], tags: [] }]);
  });

  it("take probabilities from the logits of first tokens", () => {
    const { examples } = task.inputExamples([{ text: "Anna" }], encoder());
    const data = new Float32Array(4 * 5);
    data[5 + 3] = Math.log(4); // position 1, B-per
    const logits = { dtype: "float32" as const, shape: [1, 4, 5], data };
    const result = task.decode({ logits }, 0, examples[0]!) as WindowLabels;
    expect([...result.labels]).toEqual([3]);
    expect(result.scores[0]).toBeCloseTo(0.5, 6);
  });

  it("want a text or a list of tokens", () => {
    expect(message(() => predict([{ text: "a" }, { text: 7 }], () => 0))).toBe(
      "input 2: expected a text, or a list of tokens, got 7. Pass { text } or { tokens }.",
    );
  });
});

describe("data that does not fit", () => {
  it("names rows whose tags are not as many as their tokens", () => {
    expect(message(() => create([...rows, { tokens: ["a", "b"], tags: ["O"] }]))).toBe(
      "data.jsonl: line 3: expected a tag for each of the 2 tokens, got 1. Give each token one tag.",
    );
  });

  it("names tags that are none, numbers without names, and lists that are none", () => {
    expect(message(() => create([split("a b", "B-x person")]))).toBe(
      'data.jsonl: line 1: column "tags": expected tags such as O, B-x and I-x, as others in the file, got "person". ' +
        "Choose the column with tagsColumn, or correct the tags.",
    );
    expect(message(() => create([{ tokens: ["a"], tags: [1] }]))).toBe(
      'data.jsonl: line 1: column "tags": expected texts, got 1. ' +
        "Where tags are numbers, pass their names in order by tagNames: O, B-person, I-person.",
    );
    expect(message(() => create([{ tokens: ["a"], tags: [7] }], { tagNames: ["O", "B-x"] }))).toBe(
      'data.jsonl: line 1: column "tags": expected texts, or numbers from 0 to 1, got 7. Write a list for each row.',
    );
    expect(message(() => create([{ tokens: ["a"], tags: null }]))).toBe(
      'data.jsonl: line 1: column "tags": expected a list, got null. Write a list for each row.',
    );
    expect(message(() => create([split("a", "O")]))).toBe(
      "data.jsonl: expected entities to learn, got none: every token is outside. " +
        "Choose the column of tags with tagsColumn.",
    );
  });

  it("tells of tags that go on with nothing, which begin an entity", () => {
    const stray = [split("a b c", "O I-per B-loc"), split("d", "I-loc")];
    const { examples, warnings } = task.readExamples(table(stray), encoder());
    expect((examples as SentenceExample[]).map(({ sentence }) => sentence.labels)).toEqual([
      [0, 3, 1],
      [1],
    ]);
    expect(warnings).toEqual([
      'data.jsonl: 2 tags go on with an entity that was not begun, against BIO: the first is "I-per" after nothing, ' +
        "line 1, token 2. Each begins an entity.",
    ]);
  });

  it("names types that were not learned", () => {
    const other = table([split("a b", "B-new I-new")], "test.conll");
    expect(message(() => task.readExamples(other, encoder()))).toBe(
      'test.conll: line 1: the type "new" is not one of the training data\'s. Known types: "loc", "per".',
    );
  });

  it.each([
    [[[0, 9, "x"]], 'expected places within the 5 characters of the text, got [0,9] for "x"'],
    [[[2, 2, "x"]], 'expected places within the 5 characters of the text, got [2,2] for "x"'],
    [[[-1, 2, "x"]], 'expected places within the 5 characters of the text, got [-1,2] for "x"'],
    [[[0.5, 2, "x"]], 'expected whole numbers where "x" starts and ends, got [0.5,2]'],
    [[[0, 1]], "expected { start, end, label }, got [0,1]"],
    [["x"], 'expected { start, end, label }, got "x"'],
    [[{ start: 0, end: 1 }], "expected the entity's type as a text, got undefined"],
    ["x", 'expected a list of entities, got "x"'],
    [[[1, 2, "x"]], '[1,2,"x"]: there is only white space'],
    [
      [
        [0, 1, "x"],
        [0, 2, "y"],
      ],
      '{"type":"x","start":0,"end":1} and {"type":"y","start":0,"end":2} overlap',
    ],
    [
      [[2, 3, "x"]],
      '[2,3,"x"]: it cuts a character in two. Where places count characters and not UTF-16 units, pass spanUnit "characters"',
    ],
    [
      [{ start: 0, end: 1, type: "x", text: "b" }],
      '{"start":0,"end":1,"type":"x","text":"b"}: there stands "a". ' +
        'Where places count characters and not UTF-16 units, pass spanUnit "characters"',
    ],
  ])("names the row of an entity that cannot be: %j", (spans, problem) => {
    expect(message(() => create([{ text: "a 😀b", spans }]))).toBe(
      `data.jsonl: line 1: ${problem}. Correct the entities.`,
    );
  });
});

describe("an adapter from elsewhere", () => {
  it("has the labels of the base's configuration where their number fits, in any order", () => {
    const id2label = { 0: "I-per", 1: "O", 2: "B-per" };
    const other = tokenClassification.fromConfig({ id2label }, 3);
    const inputs = [{ text: "Anna K lives" }];
    const { examples } = other.inputExamples(inputs, encoder());
    const results = sure(examples as SentenceExample[], (word) => [2, 0, 1][word]!);
    expect(other.predictions(inputs, examples, results)[0]).toMatchObject({
      entities: [{ text: "Anna K" }],
    });
    expect(tokenClassification.fromConfig({ id2label }, 2).modelConfig["id2label"]).toEqual({
      0: "LABEL_0",
      1: "LABEL_1",
    });
  });

  it("may have I- alone, as models trained on IOB1", () => {
    const other = tokenClassification.fromConfig(
      { id2label: { 0: "O", 1: "I-per", 2: "I-loc" } },
      3,
    );
    const { examples } = other.readExamples(table(rows), encoder());
    expect((examples[0] as SentenceExample).sentence.labels).toEqual([1, 0, 0, 2, 2]);
  });
});

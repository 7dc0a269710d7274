import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  detectScheme,
  entitiesOf,
  labelsOf,
  parseTag,
  spellingOf,
  strictEntitiesOf,
  TAG_SCHEMES,
  tagsOf,
  type Tag,
} from "./tags.ts";

const parse = (text: string): Tag[] => {
  const tags = text.split(" ");
  const { spelling } = spellingOf(tags);
  return tags.map((tag) => parseTag(tag, spelling));
};
const entities = (text: string): string[] =>
  entitiesOf(parse(text)).map(({ type, first, last }) => `${type} ${first}-${last}`);
const detect = (...texts: string[]) => {
  const tags = texts.map((text) => text.split(" "));
  const { spelling } = spellingOf(tags.flat());
  const parsed = tags.map((list) => list.map((tag) => parseTag(tag, spelling)));
  const { scheme, strays } = detectScheme(parsed, spelling);
  return [scheme, strays.length];
};

describe("entitiesOf", () => {
  it("reads every scheme", () => {
    const expected = ["x 0-2", "y 3-4", "y 4-5"];
    for (const tags of [
      "B-x I-x O B-y B-y", // BIO
      "I-x I-x O I-y B-y", // IOB1
      "B-x E-x O S-y S-y", // IOBES
      "B-x L-x O U-y U-y", // BILOU
      "B_x E_x O S_y S_y",
    ]) {
      expect(entities(tags), tags).toEqual(expected);
    }
    expect(entities("B-x M-x E-x")).toEqual(["x 0-3"]);
    expect(entities("x x O y x")).toEqual(["x 0-2", "y 3-4", "x 4-5"]);
    expect(entities("B I O B")).toEqual(["entity 0-2", "entity 3-4"]);
  });

  it("lets what goes on with nothing begin an entity", () => {
    expect(entities("I-x O I-x I-y B-y I-x")).toEqual([
      "x 0-1",
      "x 2-3",
      "y 3-4",
      "y 4-5",
      "x 5-6",
    ]);
    expect(entities("E-x I-x S-x E-x")).toEqual(["x 0-1", "x 1-2", "x 2-3", "x 3-4"]);
  });

  it("keeps types with separators whole", () => {
    expect(entities("B-creative-work I-creative-work")).toEqual(["creative-work 0-2"]);
  });
});

describe("spellingOf", () => {
  it("tells tags with prefixes from plain ones, and names those that do not fit", () => {
    expect(spellingOf(["O", "B-x"])).toEqual({ spelling: "prefixed", odd: [] });
    expect(spellingOf(["O", "person", "Place"])).toEqual({ spelling: "plain", odd: [] });
    expect(spellingOf(["B-x", "person", "o"])).toEqual({
      spelling: "prefixed",
      odd: ["person", "o"],
    });
    expect(spellingOf(["person", ""])).toEqual({ spelling: "plain", odd: [""] });
    expect(spellingOf(["O"])).toEqual({ spelling: "plain", odd: [] });
  });
});

describe("detectScheme", () => {
  it("tells BIO, IOB1 and IOBES apart, and counts tags against them", () => {
    expect(detect("B-x I-x O", "B-x B-x")).toEqual(["BIO", 0]);
    expect(detect("I-x I-x O", "I-x B-x I-y")).toEqual(["IOB1", 0]);
    expect(detect("I-x O I-x")).toEqual(["IOB1", 0]);
    expect(detect("B-x O I-x I-x", "B-y I-x")).toEqual(["BIO", 2]);
    expect(detect("B-x E-x S-y")).toEqual(["IOBES", 0]);
    expect(detect("B-x L-x U-y L-y")).toEqual(["IOBES", 1]);
    expect(detect("x x O")).toEqual(["types without prefixes", 0]);
  });
});

const spelled = (tags: readonly Tag[]): string =>
  tags.map(({ prefix, type }) => (type === "" ? prefix : `${prefix}-${type}`)).join(" ");

describe("tagsOf", () => {
  it("writes BIO and IOBES", () => {
    const found = entitiesOf(parse("B-x I-x I-x O B-y B-y I-y"));
    expect(spelled(tagsOf(found, 7, "bio"))).toBe("B-x I-x I-x O B-y B-y I-y");
    expect(spelled(tagsOf(found, 7, "iobes"))).toBe("B-x I-x E-x O S-y B-y E-y");
    expect(labelsOf(["x"], "bio")).toEqual(["O", "B-x", "I-x"]);
    expect(labelsOf(["x"], "iobes")).toEqual(["O", "B-x", "I-x", "E-x", "S-x"]);
  });

  it("is undone by both readings", () => {
    const tag = fc.constantFrom("O", "B-x", "I-x", "E-x", "S-x", "B-y", "I-y");
    fc.assert(
      fc.property(
        fc.array(tag, { minLength: 1 }),
        fc.constantFrom(...TAG_SCHEMES),
        (tags, scheme) => {
          const found = entitiesOf(tags.map((text) => parseTag(text, "prefixed")));
          const written = tagsOf(found, tags.length, scheme);
          expect(entitiesOf(written)).toEqual(found);
          expect(strictEntitiesOf(written, scheme)).toEqual(found);
        },
      ),
    );
  });
});

import { describe, expect, it } from "vitest";
import { findColumn, textValues } from "./columns.ts";
import type { Table } from "./table.ts";

const table = (...columns: string[]): Table => ({ file: "d.csv", columns, rows: [], unit: "line" });
const text = (t: Table, asked?: string): string => findColumn(t, "text", asked);
const label = (t: Table, asked?: string): string => findColumn(t, "label", asked);

describe("findColumn", () => {
  it("finds usual names without case", () => {
    const t = table("", "Label", "Text");
    expect([text(t), label(t)]).toEqual(["Text", "Label"]);
    const banking = table("text", "category");
    expect([text(banking), label(banking)]).toEqual(["text", "category"]);
  });

  it("prefers the role's own name among several", () => {
    const t = table("title", "text", "label", "category");
    expect([text(t), label(t)]).toEqual(["text", "label"]);
  });

  it("gives the other of two columns", () => {
    expect(text(table("v1", "label"))).toBe("v1");
    expect(label(table("v1", "text"))).toBe("v1");
  });

  it("takes the name that was asked for, exactly", () => {
    expect(text(table("a", "b"), "b")).toBe("b");
    expect(() => text(table("Body", "x"), "body")).toThrowError(
      'd.csv: no text column "body". The columns are "Body", "x"; pass one with textColumn. Did you mean "Body"?',
    );
  });

  it("says what there is when it cannot tell", () => {
    expect(() => label(table("a", "b", "text"))).toThrowError(
      "d.csv: no column has a usual name of a label column (label, labels, category, class, target, intent, " +
        'sentiment, tag, …). The columns are "a", "b", "text"; pass one with labelColumn.',
    );
    expect(() => text(table("title", "body", "label"))).toThrowError(
      'd.csv: "title" and "body" could each be the text column. The columns are "title", "body", "label"; ' +
        "pass one with textColumn.",
    );
    expect(() => text(table("a", "b"))).toThrowError("textColumn");
  });
});

describe("textValues", () => {
  it("takes strings and numbers, and names the places of anything else", () => {
    const rows = ["a", 1, "", true].map((value, i) => ({ line: i + 2, values: { text: value } }));
    const t = { ...table("text"), rows: [...rows] };
    expect(textValues(t, "text")).toEqual(["a", "1", "", "true"]);
    const bad = {
      ...t,
      rows: [...rows, { line: 9, values: {} }, { line: 12, values: { text: {} } }],
    };
    expect(() => textValues(bad as Table, "text")).toThrowError(
      'd.csv: line 9: column "text": expected a text, got undefined\n' +
        'd.csv: line 12: column "text": expected a text, got {}. Give each row a text or remove it.',
    );
  });
});

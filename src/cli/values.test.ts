import { describe, expect, it } from "vitest";
import { z } from "zod";
import { expectation, isSwitch, parseValue, placeholder, type ValueSchema } from "./values.ts";

const schemaOf = (type: z.ZodType): ValueSchema =>
  z.toJSONSchema(type, { io: "input" }) as ValueSchema;

const count = schemaOf(z.number().int().positive());
const names = schemaOf(z.union([z.string(), z.array(z.string())]).nullable());
const layers = schemaOf(z.union([z.number().int(), z.array(z.number().int())]).nullable());
const ranks = schemaOf(z.record(z.string(), z.number().positive()));
const start = schemaOf(z.union([z.boolean(), z.literal("gaussian")]));
const device = schemaOf(z.enum(["cpu", "cuda"]));

describe("parseValue", () => {
  it.each<[string, ValueSchema, unknown]>([
    ["8", count, 8],
    ["2e-4", schemaOf(z.number()), 2e-4],
    ["many", count, "many"],
    ["", count, ""],
    ["8", schemaOf(z.string()), "8"],
    ["query,value", names, ["query", "value"]],
    ["query", names, ["query"]],
    ["all-linear", names, "all-linear"],
    [String.raw`.*\.(query|value)`, names, String.raw`.*\.(query|value)`],
    ["none", names, null],
    ["3", layers, 3],
    ["0,1,2", layers, [0, 1, 2]],
    ["key=4,layer.0=8", ranks, { key: 4, "layer.0": 8 }],
    ["key", ranks, "key"],
    ["false", start, false],
    ["gaussian", start, "gaussian"],
  ])("reads %j", (text, schema, value) => {
    expect(parseValue(text, schema)).toEqual(value);
  });
});

it("names what a flag accepts", () => {
  expect([count, names, layers, ranks, start, device].map(placeholder)).toEqual([
    "integer",
    "text|list",
    "integer",
    "name=value",
    "true|false|gaussian",
    "cpu|cuda",
  ]);
  expect([count, device, start, layers].map(expectation)).toEqual([
    "a whole number above 0",
    "one of cpu, cuda",
    'true or false or "gaussian"',
    "a whole number or a list (each a whole number) or null",
  ]);
  expect(expectation(schemaOf(z.number().min(0).lt(1)))).toBe("a number of at least 0 and below 1");
});

it("knows flags without a value", () => {
  expect([schemaOf(z.boolean().default(false)), start, count].map(isSwitch)).toEqual([
    true,
    false,
    false,
  ]);
});

/** @file What a sweep tries: a choice for each of some training options, and configurations drawn from them. */
import { LowrankError, requireOptions } from "../errors.ts";
import { randomGenerator, type RandomGenerator } from "../random.ts";

/** Some values, or all numbers of a range. */
export type Choice =
  | { readonly values: readonly unknown[] }
  | {
      readonly low: number;
      readonly high: number;
      /** Draw the logarithm evenly. */
      readonly logarithmic: boolean;
      /** Draw whole numbers. */
      readonly whole: boolean;
    };

/** Choices by option. */
export type Space = Readonly<Record<string, Choice>>;

/** Values by option. */
export type Configuration = Readonly<Record<string, unknown>>;

/** Ranges wider than this factor are drawn by their logarithm, as learning rates are. */
const WIDE = 10;

/**
 * A choice as it is written: "1e-4,5e-4" or "1e-5..1e-2". Values that are given twice count once.
 * @param parse one value's text as the option takes it
 * @throws LowrankError "usage" for a range without numbers in it
 */
export function parseChoice(
  text: string,
  parse: (value: string) => unknown,
  where: string,
): Choice {
  const ends = text.split("..");
  const [low, high] = ends.map((end) => (end.trim() === "" ? NaN : Number(end))) as [
    number,
    number,
  ];
  // A path may have two dots as well.
  if (ends.length !== 2 || !Number.isFinite(low) || !Number.isFinite(high)) {
    const values = text.split(",").map((value) => parse(value.trim()));
    return { values: [...new Map(values.map((value) => [JSON.stringify(value), value])).values()] };
  }
  if (low >= high) {
    throw new LowrankError(
      "usage",
      `${where}: expected a range from a smaller to a larger number, like 1e-5..1e-2, got "${text}".`,
    );
  }
  const whole = Number.isInteger(low) && Number.isInteger(high) && !/[.e]/i.test(ends.join(""));
  return { low, high, logarithmic: low > 0 && high / low >= WIDE, whole };
}

/** Every combination of values, the last option changing fastest. Throws LowrankError("usage") for ranges. */
export function grid(space: Space): Configuration[] {
  requireOptions("grid", space);
  let result: Configuration[] = [{}];
  for (const [option, choice] of Object.entries(space)) {
    if (!("values" in choice)) {
      throw new LowrankError(
        "usage",
        `${option}: a grid needs single values, got the range ${choice.low}..${choice.high}. List values, or draw at random (strategy random).`,
      );
    }
    const { values } = choice;
    result = result.flatMap((known) =>
      values.map((value) => Object.assign({}, known, { [option]: value })),
    );
  }
  return result;
}

/** Distinct configurations at random, at most `count`: fewer where a space of single values has no more. */
export function draw(space: Space, count: number, seed: number): Configuration[] {
  const random = randomGenerator(seed, "sweep");
  const found = new Map<string, Configuration>();
  // A space of few combinations is exhausted long before this.
  for (let attempt = 0; attempt < 100 * count && found.size < count; attempt++) {
    const entries = Object.entries(space).map(([option, choice]) => [option, pick(choice, random)]);
    const configuration = Object.fromEntries(entries) as Configuration;
    found.set(JSON.stringify(configuration), configuration);
  }
  return [...found.values()];
}

function pick(choice: Choice, random: RandomGenerator): unknown {
  if ("values" in choice) return choice.values[random.int(choice.values.length)];
  const { low, high, logarithmic, whole } = choice;
  const share = random.uniform();
  const value = logarithmic ? low * (high / low) ** share : low + (high - low) * share;
  return whole ? Math.round(value) : Number(value.toPrecision(3));
}

/** @file What goes wrong, for tests of error messages. */
import { expect } from "vitest";
import { LowrankError } from "../src/errors.ts";

/** The error of our own that a promise is rejected with. */
export async function failure(promise: Promise<unknown>): Promise<LowrankError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(LowrankError);
  return error as LowrankError;
}

/** @file Every op, for the generic tests and the documentation. */
import * as activations from "./activations.ts";
import * as elementwise from "./elementwise.ts";
import * as functional from "./functional.ts";
import * as indexing from "./indexing.ts";
import * as matmul from "./matmul.ts";
import * as movement from "./movement.ts";
import * as random from "./random.ts";
import * as reduce from "./reduce.ts";
import * as rmsNorm from "./rms-norm.ts";
import * as rotary from "./rotary.ts";
import * as trigonometry from "./trigonometry.ts";
import type { CompositeOp, PrimitiveOp } from "../graph/op.ts";

type DefinedOp = PrimitiveOp<any> | CompositeOp<any>;

function opsOf(module: object): DefinedOp[] {
  return Object.entries(module).flatMap(([name, value]) => (name.endsWith("Op") ? [value] : []));
}

export const ALL_OPS: readonly DefinedOp[] = [
  elementwise,
  reduce,
  matmul,
  movement,
  indexing,
  random,
  functional,
  activations,
  rmsNorm,
  rotary,
  trigonometry,
].flatMap(opsOf);

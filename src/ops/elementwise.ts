/** @file Elementwise primitives. Binary ones broadcast as NumPy does; a plain number stands for a
 * scalar constant of the other operand's dtype. */
import { LowrankError } from "../errors.ts";
import { ONNX_DTYPE, type DType } from "../graph/dtype.ts";
import { scalar } from "../graph/leaves.ts";
import { applyOne, type Tensor } from "../graph/node.ts";
import {
  NONE,
  sameType,
  type Lower,
  type None,
  type PrimitiveOp,
  type Sample,
  type Vjp,
} from "../graph/op.ts";
import { broadcastShapes } from "../graph/shape.ts";
import { sumTo } from "./reduce.ts";

/** A tensor, or a number that becomes a scalar of the other operand's dtype. */
export type Operand = Tensor | number;

const onnx =
  (opType: string): Lower<any> =>
  (builder, inputs) =>
    builder.node(opType, inputs);

// ---------------------------------------------------------------- unary

interface UnaryRule {
  /** The cotangent of x from that of y = f(x). */
  vjp: (cotangent: Tensor, x: Tensor, y: Tensor) => Tensor | undefined;
  /** For constant folding; absent where JavaScript has no such function. */
  scalar?: (x: number) => number;
  range?: readonly [number, number];
  opType: string;
}

function unary(name: string, rule: UnaryRule): PrimitiveOp<None> {
  return {
    kind: "primitive",
    elementwise: true,
    name,
    infer: ([x]) => [requireFloat(name, x!)],
    vjp: (node, [cotangent]) =>
      cotangent ? [rule.vjp(cotangent, node.inputs[0]!, node.outputs[0]!)] : [undefined],
    lower: onnx(rule.opType),
    ...(rule.scalar ? { scalar: rule.scalar } : {}),
    samples: [
      {
        inputs: [{ dtype: "float32", shape: [2, 3], ...(rule.range ? { range: rule.range } : {}) }],
        attrs: NONE,
      },
    ],
  };
}

function requireFloat(name: string, x: Tensor): Tensor {
  if (x.dtype === "float32") return x;
  throw new LowrankError("graph", `${name}: expected float32, got ${x.dtype}. Use cast first.`);
}

const POSITIVE = [0.5, 2] as const;

export const negOp = unary("neg", { opType: "Neg", vjp: (g) => neg(g), scalar: (x) => -x });
export const expOp = unary("exp", { opType: "Exp", vjp: (g, _, y) => mul(g, y), scalar: Math.exp });
export const logOp = unary("log", {
  opType: "Log",
  vjp: (g, x) => div(g, x),
  scalar: Math.log,
  range: POSITIVE,
});
export const sqrtOp = unary("sqrt", {
  opType: "Sqrt",
  vjp: (g, _, y) => div(mul(g, 0.5), y),
  scalar: Math.sqrt,
  range: POSITIVE,
});
export const reciprocalOp = unary("reciprocal", {
  opType: "Reciprocal",
  vjp: (g, _, y) => neg(mul(g, mul(y, y))),
  scalar: (x) => 1 / x,
  range: POSITIVE,
});
export const tanhOp = unary("tanh", {
  opType: "Tanh",
  vjp: (g, _, y) => mul(g, sub(1, mul(y, y))),
  scalar: Math.tanh,
});
export const sigmoidOp = unary("sigmoid", {
  opType: "Sigmoid",
  vjp: (g, _, y) => mul(g, mul(y, sub(1, y))),
  scalar: (x) => 1 / (1 + Math.exp(-x)),
});
/** erf(x) = 2/√π ∫₀ˣ exp(-t²) dt; derivative 2/√π · exp(-x²). */
export const erfOp = unary("erf", {
  opType: "Erf",
  vjp: (g, x) => mul(g, mul(exp(neg(mul(x, x))), 2 / Math.sqrt(Math.PI))),
});
/** max(x, 0); the derivative at 0 is 0, as in PyTorch. */
export const reluOp = unary("relu", {
  opType: "Relu",
  vjp: (g, x) => where(greater(x, 0), g, 0),
  scalar: (x) => Math.max(x, 0),
  range: POSITIVE,
});

/** -x, elementwise. */
export const neg = (x: Tensor): Tensor => applyOne(negOp, [x], NONE);
/** eˣ, elementwise. */
export const exp = (x: Tensor): Tensor => applyOne(expOp, [x], NONE);
/** Natural logarithm, elementwise. */
export const log = (x: Tensor): Tensor => applyOne(logOp, [x], NONE);
/** √x, elementwise. */
export const sqrt = (x: Tensor): Tensor => applyOne(sqrtOp, [x], NONE);
/** 1 / x, elementwise. */
export const reciprocal = (x: Tensor): Tensor => applyOne(reciprocalOp, [x], NONE);
/** Hyperbolic tangent, elementwise. */
export const tanh = (x: Tensor): Tensor => applyOne(tanhOp, [x], NONE);
/** 1 / (1 + e⁻ˣ), elementwise. */
export const sigmoid = (x: Tensor): Tensor => applyOne(sigmoidOp, [x], NONE);
/** The error function 2/√π ∫₀ˣ exp(-t²) dt, elementwise. */
export const erf = (x: Tensor): Tensor => applyOne(erfOp, [x], NONE);
/** max(x, 0), elementwise. */
export const relu = (x: Tensor): Tensor => applyOne(reluOp, [x], NONE);

// ---------------------------------------------------------------- binary

interface BinaryRule {
  opType: string;
  /** Cotangents of a and b, before they are summed over broadcast dimensions. */
  vjp: (g: Tensor, a: Tensor, b: Tensor, y: Tensor) => [Tensor, Tensor];
  scalar: (a: number, b: number) => number;
  range?: readonly [number, number];
}

function binary(name: string, rule: BinaryRule): PrimitiveOp<None> {
  const vjp: Vjp<None> = (node, [g]) => {
    if (!g) return [undefined, undefined];
    const [a, b] = node.inputs as [Tensor, Tensor];
    const [ga, gb] = rule.vjp(g, a, b, node.outputs[0]!);
    return [sumTo(ga, a.shape), sumTo(gb, b.shape)];
  };
  return {
    kind: "primitive",
    elementwise: true,
    name,
    infer: ([a, b]) => [{ dtype: sameDtype(name, a!, b!), shape: broadcast(name, a!, b!) }],
    vjp,
    lower: onnx(rule.opType),
    scalar: rule.scalar,
    samples: binarySamples(rule.range),
  };
}

function binarySamples(range?: readonly [number, number]): Sample<None>[] {
  const float = (shape: number[]) => ({
    dtype: "float32" as const,
    shape,
    ...(range ? { range } : {}),
  });
  return [
    { inputs: [float([2, 3]), float([2, 3])], attrs: NONE },
    { inputs: [float([2, 1, 3]), float([4, 1])], attrs: NONE },
    { inputs: [float([3]), float([])], attrs: NONE },
  ];
}

function sameDtype(name: string, a: Tensor, b: Tensor): DType {
  if (a.dtype === b.dtype) return a.dtype;
  throw new LowrankError(
    "graph",
    `${name}: operands must have one dtype, got ${a.dtype} and ${b.dtype}. Use cast.`,
  );
}

function broadcast(name: string, a: Tensor, b: Tensor) {
  return broadcastShapes(name, a.shape, b.shape);
}

/** Gradients of maximum and minimum go to the larger (smaller) operand; ties go to the first. */
function choose(takesFirst: (a: Tensor, b: Tensor) => Tensor): BinaryRule["vjp"] {
  return (g, a, b) => {
    const first = takesFirst(a, b);
    return [where(first, g, 0), where(first, 0, g)];
  };
}

export const addOp = binary("add", { opType: "Add", vjp: (g) => [g, g], scalar: (a, b) => a + b });
export const subOp = binary("sub", {
  opType: "Sub",
  vjp: (g) => [g, neg(g)],
  scalar: (a, b) => a - b,
});
export const mulOp = binary("mul", {
  opType: "Mul",
  vjp: (g, a, b) => [mul(g, b), mul(g, a)],
  scalar: (a, b) => a * b,
});
export const divOp = binary("div", {
  opType: "Div",
  vjp: (g, _, b, y) => [div(g, b), neg(mul(g, div(y, b)))],
  scalar: (a, b) => a / b,
  range: POSITIVE,
});
export const maximumOp = binary("maximum", {
  opType: "Max",
  vjp: choose((a, b) => greaterEqual(a, b)),
  scalar: Math.max,
});
export const minimumOp = binary("minimum", {
  opType: "Min",
  vjp: choose((a, b) => greaterEqual(b, a)),
  scalar: Math.min,
});

/** Both operands as tensors of one dtype. */
function tensorsOf(a: Operand, b: Operand): [Tensor, Tensor] {
  const dtype = typeof a === "object" ? a.dtype : typeof b === "object" ? b.dtype : "float32";
  const tensor = (operand: Operand): Tensor =>
    typeof operand === "number" ? scalar(operand, dtype) : operand;
  return [tensor(a), tensor(b)];
}

function applyBinary(op: PrimitiveOp<None>, a: Operand, b: Operand): Tensor {
  return applyOne(op, tensorsOf(a, b), NONE);
}

/** a + b, elementwise; shapes broadcast as in NumPy. Throws LowrankError("graph") where shapes or dtypes do not fit, as
 * all of these do. */
export const add = (a: Operand, b: Operand): Tensor => applyBinary(addOp, a, b);
/** a - b, elementwise, broadcast. */
export const sub = (a: Operand, b: Operand): Tensor => applyBinary(subOp, a, b);
/** a · b, elementwise, broadcast; the product of matrices is `matmul`. */
export const mul = (a: Operand, b: Operand): Tensor => applyBinary(mulOp, a, b);
/** a / b, elementwise, broadcast. */
export const div = (a: Operand, b: Operand): Tensor => applyBinary(divOp, a, b);
/** The larger of a and b, elementwise, broadcast. */
export const maximum = (a: Operand, b: Operand): Tensor => applyBinary(maximumOp, a, b);
/** The smaller of a and b, elementwise, broadcast. */
export const minimum = (a: Operand, b: Operand): Tensor => applyBinary(minimumOp, a, b);

// ---------------------------------------------------------------- comparison and selection

function comparison(name: string, opType: string): PrimitiveOp<None> {
  return {
    kind: "primitive",
    elementwise: true,
    name,
    infer: ([a, b]) => {
      sameDtype(name, a!, b!);
      return [{ dtype: "bool", shape: broadcast(name, a!, b!) }];
    },
    vjp: "not differentiable",
    lower: onnx(opType),
    samples: [
      ...binarySamples(),
      {
        inputs: [
          { dtype: "int32", shape: [4], values: [1, 2, 3, 4] },
          { dtype: "int32", shape: [1], values: [2] },
        ],
        attrs: NONE,
      },
    ],
  };
}

export const equalOp = comparison("equal", "Equal");
export const greaterOp = comparison("greater", "Greater");
export const greaterEqualOp = comparison("greaterEqual", "GreaterOrEqual");
export const lessOp = comparison("less", "Less");

/** a = b, elementwise, broadcast → bool. */
export const equal = (a: Operand, b: Operand): Tensor => applyBinary(equalOp, a, b);
/** a > b, elementwise, broadcast → bool. */
export const greater = (a: Operand, b: Operand): Tensor => applyBinary(greaterOp, a, b);
/** a ≥ b, elementwise, broadcast → bool. */
export const greaterEqual = (a: Operand, b: Operand): Tensor => applyBinary(greaterEqualOp, a, b);
/** a < b, elementwise, broadcast → bool. */
export const less = (a: Operand, b: Operand): Tensor => applyBinary(lessOp, a, b);

export const whereOp: PrimitiveOp<None> = {
  kind: "primitive",
  elementwise: true,
  name: "where",
  infer: ([condition, a, b]) => {
    if (condition!.dtype !== "bool") {
      throw new LowrankError(
        "graph",
        `where: the condition must be bool, got ${condition!.dtype}.`,
      );
    }
    const shape = broadcastShapes("where", broadcast("where", a!, b!), condition!.shape);
    return [{ dtype: sameDtype("where", a!, b!), shape }];
  },
  vjp: (node, [g]) => {
    const [condition, a, b] = node.inputs as [Tensor, Tensor, Tensor];
    if (!g) return [undefined, undefined, undefined];
    return [
      undefined,
      sumTo(where(condition, g, 0), a.shape),
      sumTo(where(condition, 0, g), b.shape),
    ];
  },
  lower: onnx("Where"),
  samples: [
    {
      inputs: [
        { dtype: "bool", shape: [2, 1], values: [0, 1] },
        { dtype: "float32", shape: [2, 3] },
        { dtype: "float32", shape: [] },
      ],
      attrs: NONE,
    },
  ],
};

/** `condition ? a : b` per element. */
export function where(condition: Tensor, a: Operand, b: Operand): Tensor {
  return applyOne(whereOp, [condition, ...tensorsOf(a, b)], NONE);
}

export const stopGradientOp: PrimitiveOp<None> = {
  kind: "primitive",
  elementwise: true,
  name: "stopGradient",
  infer: sameType,
  vjp: "not differentiable",
  lower: onnx("Identity"),
  samples: [{ inputs: [{ dtype: "float32", shape: [3] }], attrs: NONE }],
};

/** The same value, taken as a constant by differentiation. */
export const stopGradient = (x: Tensor): Tensor => applyOne(stopGradientOp, [x], NONE);

export interface CastAttrs {
  readonly dtype: DType;
}

export const castOp: PrimitiveOp<CastAttrs> = {
  kind: "primitive",
  elementwise: true,
  name: "cast",
  infer: ([x], { dtype }) => [{ dtype, shape: x!.shape }],
  vjp: (node, [g]) => [
    g && node.inputs[0]!.dtype === "float32" && g.dtype === "float32" ? g : undefined,
  ],
  lower: (builder, inputs, node) =>
    builder.node("Cast", inputs, { to: ONNX_DTYPE[node.attrs.dtype] }),
  samples: [
    { inputs: [{ dtype: "int32", shape: [3], values: [0, 1, -2] }], attrs: { dtype: "float32" } },
    { inputs: [{ dtype: "bool", shape: [3], values: [0, 1, 1] }], attrs: { dtype: "int32" } },
  ],
};

/** The same values in another dtype. */
export function cast(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : applyOne(castOp, [x], { dtype });
}

/** @file Parameters: the leaves of a model's graph, with the values behind them. */
import { makeNode, type Node, type Tensor } from "../graph/node.ts";
import type { LeafOp } from "../graph/op.ts";
import { requireShape, type Shape } from "../graph/shape.ts";
import type { Values } from "./init.ts";

const parameterOp: LeafOp<{ shape: Shape }> = {
  kind: "leaf",
  name: "parameter",
  infer: (_, { shape }) => [{ dtype: "float32", shape }],
  samples: [],
};

/**
 * A float32 tensor that belongs to a module. It is a Tensor, so it is used in `forward` as it is; its
 * values are made or read only when an engine asks for them, so building a model allocates nothing.
 */
export class Parameter implements Tensor {
  readonly node: Node;
  readonly index = 0;
  readonly dtype = "float32";
  readonly shape: Shape;
  /** Whether training changes it. */
  requiresGrad = true;
  /** Whether its values were read from an adapter's file that holds them although they are the base's. Then they are part of the
   * adapter: another base may have others. */
  isStoredWithAdapter = false;
  /** Where its values come from. */
  values: Values;

  /** Throws LowrankError("graph") for what is no shape. */
  constructor(shape: Shape, values: Values) {
    requireShape("parameter", shape);
    this.shape = shape;
    this.values = values;
    const node = makeNode(parameterOp, [], { shape }, [{ dtype: "float32", shape }]);
    // The node's output is this object itself, so that it can be looked up in any graph.
    this.node = { ...node, outputs: [this] };
  }
}
